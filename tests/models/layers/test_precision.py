import logging
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger

from flsl_mm.models.layers import precision
from flsl_mm.models.layers.precision import residual_stream, warn_of_emulation


@pytest.mark.skipif(
    not hasattr(torch, 'get_autocast_dtype'), reason='torch before 2.4 keeps float32'
)
def test_only_bfloat16_autocast_changes_the_format():
    x = torch.ones(2)
    assert residual_stream(x) is x
    with torch.autocast('cpu', torch.bfloat16):
        assert residual_stream(x).dtype == torch.bfloat16
        with torch.autocast('cpu', enabled=False):
            assert residual_stream(x) is x


def test_float16_keeps_float32_for_its_range():
    x = torch.ones(2)
    with torch.autocast('cpu', torch.float16):
        assert residual_stream(x) is x


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_models_of_another_format_keep_it(dtype):
    x = torch.ones(2, dtype=dtype)
    with torch.autocast('cpu', torch.bfloat16):
        assert residual_stream(x) is x


def test_devices_without_autocast_keep_float32():
    x = torch.ones(2, device='meta')
    assert residual_stream(x) is x


def test_torch_that_cannot_tell_the_format_keeps_float32(monkeypatch):
    x = torch.ones(2)
    with torch.autocast('cpu', torch.bfloat16), monkeypatch.context() as patch:
        patch.delattr(torch, 'get_autocast_dtype', raising=False)
        assert residual_stream(x) is x


@pytest.mark.parametrize(
    ('device', 'native', 'warnings'), [('cpu', False, 1), ('cpu', True, 0), ('cuda', False, 0)]
)
def test_a_cpu_without_bfloat16_is_told_once(monkeypatch, device, native, warnings):
    monkeypatch.setattr(precision, 'computes_bfloat16_natively', lambda: native)
    found = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    warn_of_emulation.cache_clear()
    try:
        warn_of_emulation(device)
        warn_of_emulation(device)
    finally:
        logger.removeHandler(handler)
        warn_of_emulation.cache_clear()
    assert len(found) == warnings
    assert all('has no instructions for it' in message for message in found)


CPU = Path('/proc/cpuinfo').read_text() if Path('/proc/cpuinfo').is_file() else ''


@pytest.mark.skipif('GenuineIntel' not in CPU and 'AuthenticAMD' not in CPU, reason='not x86 Linux')
def test_a_cpu_has_bfloat16_by_its_instructions():
    flags = set(next(line for line in CPU.splitlines() if line.startswith('flags')).split())
    native = {'avx512bw', 'avx512vl', 'avx512dq'} <= flags or 'avx_ne_convert' in flags
    assert precision.computes_bfloat16_natively() == native

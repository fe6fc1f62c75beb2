"""How a run uses the devices that there are: kernels, processes, gradients."""

import os
from datetime import timedelta

import pytest
import torch
from mmengine.config import Config
from torch.backends import cudnn

from flsl_mm.apis.frozen import usable_device


@pytest.fixture
def kernels_kept():
    """Settings of torch are global."""
    kept = cudnn.benchmark, torch.get_float32_matmul_precision()
    yield
    cudnn.benchmark = kept[0]
    torch.set_float32_matmul_precision(kept[1])


@pytest.mark.parametrize(
    'config, precision',
    [
        ('pretrain/flsl_vits16_300e', 'highest'),
        ('coco/mask-rcnn_flsl-vits16_fpn_1x_coco', 'high'),
        ('ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512', 'high'),
    ],
)
def test_fine_tuning_multiplies_in_tensorfloat32(
    config, precision, project_root, make_runner, tiny_config, kernels_kept
):
    torch.set_float32_matmul_precision('highest')
    env_cfg = Config.fromfile(project_root / f'configs/{config}.py').env_cfg
    make_runner(tiny_config, env_cfg=env_cfg)
    assert torch.get_float32_matmul_precision() == precision
    if hasattr(torch.backends.cuda, 'cudnn_sdp_enabled'):
        assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_kernels_are_not_tried_out_for_the_shapes_of_evaluations(
    make_runner, tiny_config, kernels_kept
):
    runner = make_runner(tiny_config)
    assert cudnn.benchmark  # as the config of pretraining has it
    for name in ('val', 'test'):
        runner.call_hook(f'before_{name}')
        assert not cudnn.benchmark
        runner.call_hook(f'after_{name}')
        assert cudnn.benchmark


@pytest.mark.parametrize(
    'variables, device',
    [
        ({}, 'cuda'),
        ({'LOCAL_RANK': '0'}, 'cuda'),
        ({'LOCAL_RANK': '3'}, 'cuda:3'),
        ({'SLURM_LOCALID': '2'}, 'cuda:2'),
        ({'LOCAL_RANK': '5'}, 'cuda:1'),  # as where each process sees the same few
    ],
)
def test_a_process_allocates_on_its_own_gpu_only(monkeypatch, variables, device):
    for name in ('LOCAL_RANK', 'SLURM_LOCALID'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setitem(os.environ, name, value)
    allocated, chosen = [], []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.setattr(torch.cuda, 'set_device', chosen.append)
    monkeypatch.setattr(torch, 'empty', lambda *_, device: allocated.append(str(device)))
    assert str(usable_device(None)) == device
    assert allocated == [device] and [str(d) for d in chosen] == [device] * ('cuda:' in device)


def test_a_process_of_a_run_has_its_own_gpu_before_it_allocates_or_meets_the_others(
    make_runner, tiny_config, monkeypatch
):
    """Of a machine without GPUs all that would reach a driver is noted."""
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)  # benchmarks on the CPU set it
    launched = dict(RANK=7, WORLD_SIZE=8, LOCAL_RANK=3, MASTER_ADDR='127.0.0.1', MASTER_PORT=29533)
    for name, value in launched.items():
        monkeypatch.setenv(name, str(value))
    seen = []

    class Met(Exception):
        """The processes have met; there are no others here."""

    def meet(backend, timeout):
        seen.append((backend, timeout))
        raise Met

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    monkeypatch.setattr(torch.cuda, '_lazy_init', lambda: seen.append('a context'))
    monkeypatch.setattr(torch.cuda, 'set_device', seen.append)
    monkeypatch.setattr(torch.distributed, 'init_process_group', meet)
    with pytest.raises(Met):
        make_runner(tiny_config, launcher='pytorch', **{'env_cfg.dist_cfg.timeout': 77})
    assert seen == [3, ('nccl', timedelta(seconds=77))]

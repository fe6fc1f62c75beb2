"""The benchmark of the backbones, on a tiny image."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch

from flsl_mm.models.backbones import relative_attention


@pytest.fixture
def tool(project_root, monkeypatch):
    folder = project_root / 'tools/analysis_tools'
    monkeypatch.syspath_prepend(str(folder))
    path = folder / 'benchmark_backbone.py'
    spec = importlib.util.spec_from_file_location('benchmark_backbone', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plain_twin_of_relative_attention_has_the_same_results(tool):
    qkv = torch.randn(2 * 12, 3 * 3 * 8, dtype=torch.float64)
    rel_h, rel_w = torch.randn(3, 3, 8).double(), torch.randn(4, 4, 8).double()
    torch.testing.assert_close(
        tool.attend_plainly(qkv, 3, rel_h, rel_w),
        relative_attention.attend_relative(qkv, 3, rel_h, rel_w),
    )


def test_the_last_line_is_json(project_root, tmp_path):
    config = tmp_path / 'tiny.py'
    config.write_text(
        "model = dict(backbone=dict(type='ViTDet', img_size=64, embed_dims=48, depth=2, "
        'num_heads=3, window_size=2, global_indices=(1,)))'
    )
    tool = str(project_root / 'tools/analysis_tools/benchmark_backbone.py')
    result = subprocess.run(
        [sys.executable, tool, str(config), '--size', '64', '64', '--steps=1', '--device=cpu'],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout.splitlines()[-1])
    assert {'images_per_second', 'step_ms', 'peak_memory_gib'} <= found.keys()
    assert found['plain'].keys() <= found.keys()
    assert found['speedup'] > 0 and found['memory_ratio'] > 0

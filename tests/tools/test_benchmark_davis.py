"""The DAVIS benchmark, on small frames; its plain twins."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flsl_mm.evaluation import propagate_labels
from flsl_mm.evaluation.functional.davis import measure_sequence


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('analysis_tools/benchmark_davis')


def test_the_plain_twin_of_propagation_has_the_same_results(tool):
    torch.manual_seed(0)
    features, labels = torch.randn(4, 42, 8).double(), torch.rand(3, 2, 6, 7).double()
    mask = tool.window_mask((6, 7), 2).double()
    torch.testing.assert_close(
        tool.propagate_plainly(features[0], features[1:], labels, 5, mask),
        propagate_labels(features[0], features[1:], labels, 2, 5),
    )


small_videos = arrays(np.uint8, (4, 7, 9), elements=st.integers(0, 2))


@given(small_videos, small_videos)
def test_the_plain_twin_of_the_measures_has_the_same_results(tool, truth, prediction):
    truth[0, 0, 0] = 2  # both objects are there at first
    plain = tool.measure_plainly(truth, prediction)
    np.testing.assert_allclose(measure_sequence(truth, prediction), plain, rtol=1e-12)


def test_they_agree_on_larger_objects_too(tool, golden_dir):
    masks = np.load(golden_dir / 'davis_jf.npz')
    pair = masks['seq0.gt'], masks['seq0.pred']
    np.testing.assert_allclose(measure_sequence(*pair), tool.measure_plainly(*pair), rtol=1e-12)


def test_the_last_line_is_json(project_root):
    command = [sys.executable, str(project_root / 'tools/analysis_tools/benchmark_davis.py')]
    options = '--frames 4 --grid 6 8 --dim 16 --radius 2 --size 40 60 --device cpu'.split()
    result = subprocess.run([*command, *options], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout.splitlines()[-1])
    for name in ('speedup', 'speedup_with_mask', 'jf_speedup', 'frames_per_second'):
        assert found[name] > 0
    assert found['fast_memory_mib'] >= 0 and found['plain_memory_mib'] >= 0


def test_the_whole_task_is_divided_into_its_parts(tool, monkeypatch, capsys):
    options = '--whole random:deit-tiny/16 --frames 3 --size 32 64 --objects 1 --device cpu'
    monkeypatch.setattr(sys, 'argv', ['tool', *options.split()])
    tool.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for prefix in ('', 'bfloat16_'):
        parts = [found[f'{prefix}{part} (ms)'] for part in ('features', *tool.PARTS.values())]
        assert min(parts) > 0
        assert found[f'{prefix}J&F-Mean'] > 0
    assert found['speedup'] == pytest.approx(
        found['bfloat16_frames_per_second'] / found['frames_per_second']
    )

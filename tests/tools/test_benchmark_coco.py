"""The benchmark of COCO's evaluation, on few drawn scenes."""

import json
import sys

import pytest


@pytest.fixture
def tool(load_tool):
    pytest.importorskip('mmdet')
    pytest.importorskip('faster_coco_eval')
    return load_tool('analysis_tools/benchmark_coco')


def test_the_last_line_compares_the_libraries(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', 'tool --images 12 --repeats 1'.split())
    assert tool.main() == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for kind in ('bbox', 'segm'):
        assert 0.1 < found[f'{kind}_mAP'] < 0.9
        assert found[f'{kind}_speedup'] == pytest.approx(
            found[f'{kind}_pycocotools_seconds'] / found[f'{kind}_seconds']
        )


def test_libraries_that_differ_end_the_run(tool, monkeypatch, capsys):
    numbers = iter([0.5, 0.4])
    found = lambda *_: ({'coco/bbox_mAP': next(numbers)}, 1.0)  # noqa: E731
    monkeypatch.setattr(tool, 'evaluate_by', found)
    monkeypatch.setattr(sys, 'argv', 'tool --images 2 --repeats 1'.split())
    assert tool.main() == 2
    assert 'the libraries differ' in capsys.readouterr().err

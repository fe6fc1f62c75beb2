"""The whole demo, in miniature: its own commands one after the other in this process."""

import json
import re
import runpy
import sys
from html import escape
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from flsl_mm.demo import Plan, Sizes, make_report
from flsl_mm.demo.results import MEASURES, read_comparisons, read_detection
from flsl_mm.models import build_vit

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('sklearn')
SIZES = Sizes(
    seeds=1,
    images=24,
    val_images=6,
    videos=1,
    frames=3,
    epochs=1,
    finetune_images=8,
    finetune_epochs=1,
)


def run_here(step, root: Path, monkeypatch) -> None:
    """Run a step's command in this process, which saves the time of the imports."""
    from mmdet.visualization import DetLocalVisualizer

    for kind in (DefaultScope, DetLocalVisualizer, Visualizer):  # global, by name
        kind._instance_dict.clear()
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, 'argv', list(step.command[1:]))
    try:
        runpy.run_path(step.command[1], run_name='__main__')
    except SystemExit as end:
        assert not end.code, f'{step.text}: {end.code}'


@pytest.fixture(scope='module')
def done(tmp_path_factory, project_root):
    """A plan whose steps are done, the steps, and what the report says."""
    plan = Plan(tmp_path_factory.mktemp('demo'), SIZES)
    steps = plan.steps()
    with pytest.MonkeyPatch.context() as monkeypatch:
        for step in steps:
            run_here(step, project_root, monkeypatch)
    seconds = {step.name: 1.5 for step in steps}
    return plan, steps, make_report(plan, steps, seconds)


def test_every_number_is_in_the_table_as_the_tools_wrote_it(done):
    plan, _, text = done
    page = plan.report.read_text()
    comparisons = read_comparisons(plan)
    assert len(comparisons) == len(MEASURES)
    for comparison in comparisons:
        assert set(comparison.values) == {'random', 'DINO', 'FLSL'}
        for values in comparison.values.values():
            assert f'>{values[0]:.1f}<' in page
            assert f'{values[0]:.1f}' in text
    content = json.loads(plan.numbers(0).read_text())
    measured = content['results'][plan.network('flsl', 0)]['knn']['top1_k20']
    assert comparisons[0].values['FLSL'] == [measured]


def test_detectors_are_in_the_report(done):
    plan, _, _ = done
    page = plan.report.read_text()
    for by_method in read_detection(plan).values():
        for steps, values in by_method.values():
            assert steps[-1] == 1 and f'>{values[-1]:.1f}<' in page


def test_the_report_has_every_command_and_needs_nothing_else(done):
    plan, steps, _ = done
    page = plan.report.read_text()
    for step in steps:
        assert escape(step.text) in page
    assert page.count('<img') >= 7
    assert 'objects found: random' in page
    assert not re.search(r'(src|href)\s*=\s*"(?!data:)|url\(|@import|<script|<link', page)


def test_random_is_the_network_before_training(done):
    plan, _, _ = done
    random, trained = (build_vit(plan.network(m, 0)) for m in ('random', 'flsl'))
    assert random.embed_dims == trained.embed_dims and len(random.layers) == len(trained.layers)
    assert not torch.equal(random.layers[0].attn.qkv.weight, trained.layers[0].attn.qkv.weight)

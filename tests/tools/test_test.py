"""Training and evaluation of detectors on the command line, as a user runs them."""

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmdet')


@pytest.fixture(scope='module')
def config(shrink_coco) -> Path:
    """A shrunk config as a file."""
    cfg = shrink_coco('mask-rcnn_flsl-vits16_fpn_1x_coco')
    path = Path(cfg.work_dir).with_name('shrunk.py')
    cfg.dump(path)
    return path


@pytest.fixture(scope='module')
def checkpoint(config, run_tool) -> Path:
    """What two iterations of training wrote."""
    result = run_tool('train.py', config, '--cfg-options', 'pretrained=None')
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'ViTFPN: no pretrained weights given, training from scratch' in (
        result.stdout + result.stderr
    )
    return config.with_name('run') / 'epoch_1.pth'


@pytest.fixture(scope='module')
def evaluated(config, checkpoint, run_tool, tmp_path_factory):
    """The evaluation of that checkpoint: process and folder of its files."""
    folder = tmp_path_factory.mktemp('evaluated')
    result = run_tool(
        'test.py',
        config,
        checkpoint,
        f'--work-dir={folder}',
        f'--show-dir={folder / "pictures"}',
        '--cfg-options',
        f'test_evaluator.outfile_prefix={folder / "detections"}',
        'default_hooks.visualization.score_thr=0.0',
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result, folder


def test_the_twelve_numbers_are_printed_and_written(evaluated, checkpoint):
    result, folder = evaluated
    content = json.loads((folder / 'test_metrics.json').read_text())
    assert content['checkpoint'] == str(checkpoint)
    assert len(content['metrics']) == 24
    assert content['images'] == len(list((folder / 'pictures').iterdir()))
    rows = [line.split() for line in result.stdout.splitlines()]
    start = rows.index(['metric', 'bbox', 'segm'])
    for name, box, mask in rows[start + 1 : start + 13]:
        assert float(box) == pytest.approx(content['metrics'][f'coco/bbox_{name}'], abs=1e-3)
        assert float(mask) == pytest.approx(content['metrics'][f'coco/segm_{name}'], abs=1e-3)


def test_every_image_has_a_picture(evaluated, shared_dir):
    images = {p.name for p in (shared_dir / 'data/coco/images/val2017').iterdir()}
    assert {p.name for p in (evaluated[1] / 'pictures').iterdir()} == images


def test_the_worst_images_are_drawn_in_order(config, checkpoint, run_tool, tmp_path):
    result = run_tool(
        'test.py',
        config,
        checkpoint,
        f'--work-dir={tmp_path / "run"}',
        f'--show-dir={tmp_path / "worst"}',
        '--worst=2',
    )
    assert result.returncode == 0, result.stderr[-3000:]
    worst = json.loads((tmp_path / 'worst/worst.json').read_text())
    assert len(worst) == 2 and worst[0]['quality'] <= worst[1]['quality']
    drawn = {path.name for path in (tmp_path / 'worst').iterdir()}
    assert drawn == {'worst.json', *(image['picture'] for image in worst)}


def test_two_processes_find_the_same(evaluated, config, checkpoint, run_tool, tmp_path):
    result = run_tool(
        'dist_test.sh',
        config,
        checkpoint,
        '2',
        f'--work-dir={tmp_path}',
        '--cfg-options',
        f'test_evaluator.outfile_prefix={tmp_path / "detections"}',
        PORT='29541',
    )
    assert result.returncode == 0, result.stderr[-3000:]
    headers = [line.split() == ['metric', 'bbox', 'segm'] for line in result.stdout.splitlines()]
    assert sum(headers) == 1  # one process prints
    one, two = (
        json.loads((folder / 'test_metrics.json').read_text())['metrics']
        for folder in (evaluated[1], tmp_path)
    )
    assert one == two
    for kind in ('bbox', 'segm'):
        one, two = (
            json.loads((folder / f'detections.{kind}.json').read_text())
            for folder in (evaluated[1], tmp_path)
        )
        assert one == two and len(one) > 6


@pytest.fixture
def call(load_tool, monkeypatch, capsys):
    """Calls a tool's ``main`` in this process; its exit code, and the last line printed."""

    def call(tool: str, *arguments: str) -> tuple[int, str]:
        module = load_tool(tool)
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *arguments])
        try:
            code = module.main()
        except SystemExit as stop:  # argparse
            code = stop.code
        return code, capsys.readouterr().err.splitlines()[-1]

    return call


def test_a_checkpoint_that_does_not_fit_is_an_error(config, checkpoint, call, tmp_path):
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    weights.pop('roi_head.bbox_head.fc_cls.weight')
    weights['neck.extra'] = torch.zeros(1)
    torch.save(dict(state_dict=weights), tmp_path / 'other.pth')
    code, error = call('test', str(config), str(tmp_path / 'other.pth'), f'--work-dir={tmp_path}')
    assert code == 2
    assert '1 missing: roi_head.bbox_head.fc_cls.weight; 1 unexpected: neck.extra' in error


def test_missing_files_are_named_in_one_line(config, call):
    code, error = call('test', 'missing.py', 'x.pth')
    assert code == 2 and error == 'test.py: error: there is no config file missing.py'
    code, error = call('test', str(config), 'missing.pth')
    assert code == 2 and error == 'test.py: error: missing.pth: no such file'


def test_missing_weights_to_start_from_stop_the_training(config, call, tmp_path):
    command = 'train', str(config), f'--work-dir={tmp_path}'
    code, error = call(*command, '--cfg-options', 'pretrained=missing.pth')
    assert code == 2 and 'pretrained weights: missing.pth: no such file; name one with' in error
    # The config names one by itself.
    code, error = call(*command)
    assert code == 2 and f'{config.name} needs --cfg-options pretrained=FILE' in error
    assert 'by default it takes work_dirs/flsl_vits16_300e/epoch_300.pth' in error
    assert 'docs/checkpoints.md' in error

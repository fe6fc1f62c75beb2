"""The first hour's screen: what a run shows before its first loss, and its last line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def train(project_root, tmp_path):
    """Runs train.py as a user does; the lines of the screen, and the work dir."""

    def run(*arguments) -> tuple[list[str], Path]:
        done = subprocess.run(
            [sys.executable, project_root / 'tools/train.py', *map(str, arguments)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout.splitlines(), tmp_path / 'run'

    return run


def before_the_first_loss(lines: list[str]) -> list[str]:
    return lines[: next(i for i, line in enumerate(lines) if re.search(r'\bloss: ', line))]


@pytest.fixture
def pretraining(project_root, image_folder) -> list:
    return [
        project_root / 'configs/pretrain/flsl_vit-tiny_demo.py',
        '--work-dir=run',
        '--cfg-options',
        f'train_dataloader.dataset.data_root={image_folder}',
        'train_dataloader.batch_size=6',
        'train_cfg.max_epochs=1',
        'default_hooks.checkpoint.interval=1',
    ]


def test_a_pretraining_starts_in_few_lines_and_ends_with_where_things_are(
    train, pretraining, image_folder
):
    pictures = f'default_hooks.feature_maps.images={image_folder}'
    lines, folder = train(*pretraining, pictures)
    start = before_the_first_loss(lines)
    assert len(start) < 20
    assert not [line for line in start if re.search('OneDL|deprecat|Warning', line)]
    assert any('12 images from' in line for line in start)
    assert any('1 epoch of 2 iterations of 6 images' in line for line in start)
    # All that is not shown is in run/again/.*\.log and beside it.
    [log] = folder.glob('*/*.log')
    assert any(str(log) in line for line in start)
    text = log.read_text()
    assert 'System environment:' in text and 'Hooks will be executed' in text
    assert (folder / 'flsl_vit-tiny_demo.py').is_file()
    assert '2 iterations: too few for losses and health signs' in lines[-2]
    last = lines[-1]
    [numbers] = folder.glob('*/vis_data/scalars.json')
    for path in (folder / 'epoch_1.pth', numbers, numbers.with_name('vis_image')):
        assert str(path.relative_to(folder.parent)) in last and path.exists()


def test_a_report_of_a_checkpoint_is_three_lines_and_whole_in_the_log(train, pretraining):
    _, folder = train(*pretraining)
    config, _, *options = pretraining
    init = 'model.backbone.init_cfg'
    lines, again = train(
        config,
        '--work-dir=run/again',
        *options,
        f'{init}.type=PretrainedViT',
        f'{init}.checkpoint={folder / "epoch_1.pth"}',
    )
    start = before_the_first_loss(lines)
    [place] = [i for i, line in enumerate(start) if 'Loaded pretrained weights from' in line]
    assert re.match(r'used \d+, resized \d+, ignored \d+, new \d+', start[place + 1])
    assert re.match(r'\(and \d+ lines in run/again/.*\.log\)', start[place + 2])
    assert len(start) < 20
    [log] = (again / 'again').glob('*/*.log')
    assert 'layers.{0-1}.attn.qkv.weight' in log.read_text()


@pytest.mark.slow
def test_a_detector_starts_in_few_lines_and_without_false_alarms(train, shrink_coco, tmp_path):
    pytest.importorskip('mmdet')
    cfg = shrink_coco('mask-rcnn_flsl-vits16_fpn_1x_coco', factor=16)
    cfg.pretrained = None
    cfg.dump(tmp_path / 'detector.py')
    lines, folder = train('detector.py', '--work-dir=run')
    start = before_the_first_loss(lines)
    assert len(start) < 20
    assert not [line for line in start if re.search('OneDL|faster_coco|deprecat|index', line)]
    [log] = folder.glob('*/*.log')
    assert 'faster_coco_eval' in log.read_text()  # kept, not lost

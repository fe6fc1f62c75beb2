"""Drawing scenes from the command line."""

from pathlib import Path

import pytest


@pytest.fixture
def make_scenes(load_tool):
    return load_tool('dataset_converters/make_scenes')


def few(out: Path, *more: str) -> list[str]:
    return [str(out), '--train=2', '--val=2', '--videos=1', '--frames=2', '--side=48', *more]


def test_layouts_lie_where_configs_look_for_them(make_scenes, tmp_path):
    assert make_scenes.main(few(tmp_path)) == 0
    for path in (
        'imagenet/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG',
        'imagenet/Annotations/CLS-LOC/train/n90000001/n90000001_1.xml',
        'coco/train2017/000000000001.jpg',
        'coco/annotations/instances_val2017.json',
        'ade/ADEChallengeData2016/annotations/validation/ADE_val_00000002.png',
        'DAVIS/Annotations/480p/scene-val-001/00001.png',
        'uavdt/UAV-benchmark-MOTD_v1.0/GT/M0203_gt_whole.txt',
    ):
        assert (tmp_path / path).is_file(), path
    assert len(list(tmp_path.iterdir())) == 5


def test_what_is_there_is_left_alone(make_scenes, tmp_path, capsys):
    assert make_scenes.main(few(tmp_path, '--layouts', 'DAVIS')) == 0
    assert make_scenes.main(few(tmp_path, '--layouts', 'ade', 'DAVIS')) == 2
    assert 'DAVIS exists: remove it' in capsys.readouterr().err
    assert not (tmp_path / 'ade').exists()


def test_a_layout_appears_whole_or_not_at_all(make_scenes, tmp_path, monkeypatch, capsys):
    def fail(root, **kwargs):
        root.mkdir()
        (root / 'half').touch()
        raise OSError('disk full')

    monkeypatch.setattr(make_scenes.scenes, 'write_davis', fail)
    assert make_scenes.main(few(tmp_path, '--layouts', 'DAVIS')) == 2
    assert 'make_scenes.py: error: disk full' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

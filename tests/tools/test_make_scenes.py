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
    assert make_scenes.main(few(tmp_path, '--layouts', 'ade', 'DAVIS', '--seed=1')) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert 'DAVIS exists, and was not drawn by these arguments: remove it' in line
    assert not (tmp_path / 'ade').exists()
    (tmp_path / 'ade').mkdir()
    assert make_scenes.main(few(tmp_path, '--layouts', 'ade')) == 2


def test_a_drawing_that_was_cut_off_goes_on(make_scenes, tmp_path, capsys):
    assert make_scenes.main(few(tmp_path, '--layouts', 'DAVIS')) == 0
    frame = next(tmp_path.rglob('00000.jpg'))
    before = frame.stat().st_mtime_ns
    (tmp_path / '.ade-x/ade').mkdir(parents=True)  # as a killed one leaves it
    (tmp_path / '.ade-x/ade/half').touch()
    assert make_scenes.main(few(tmp_path, '--layouts', 'DAVIS', 'ade', '--train=3')) == 0
    assert 'DAVIS: drawn before' in capsys.readouterr().out  # --train is not for videos
    assert frame.stat().st_mtime_ns == before
    assert {path.name for path in tmp_path.iterdir()} == {'DAVIS', 'ade', '.ade-x'}
    assert not (tmp_path / 'ade/half').exists()


def test_objects_too_small_to_be_seen_are_refused(make_scenes, tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_scenes.main([str(tmp_path / 'out'), '--layouts', 'DAVIS', '--side=8'])
    assert '--side must be at least 16' in capsys.readouterr().err.splitlines()[-1]
    assert make_scenes.main(few(tmp_path, '--side=16')) == 0


def test_a_layout_appears_whole_or_not_at_all(make_scenes, tmp_path, monkeypatch, capsys):
    def fail(root, **kwargs):
        root.mkdir()
        (root / 'half').touch()
        raise OSError('disk full')

    monkeypatch.setattr(make_scenes.scenes, 'write_davis', fail)
    assert make_scenes.main(few(tmp_path, '--layouts', 'DAVIS')) == 2
    assert 'make_scenes.py: error: disk full' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

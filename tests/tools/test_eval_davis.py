"""tools/eval_davis.py on drawn videos; test_eval_frozen_tasks.py scores a network's masks."""

import json
import shutil

import pytest

from flsl_mm.datasets import scenes


@pytest.fixture
def root(tmp_path):
    scenes.write_davis(tmp_path / 'davis', 0, 2, num_frames=4, size=(64, 48))
    shutil.copytree(tmp_path / 'davis/Annotations/480p', tmp_path / 'results')
    return tmp_path / 'davis'


@pytest.fixture
def run(load_tool, root, tmp_path):
    def call(*arguments):
        out = tmp_path / 'out.json'
        common = [str(tmp_path / 'results'), f'--data-root={root}', f'--out={out}']
        code = load_tool('eval_davis').main([*common, *arguments])
        return code, json.loads(out.read_text()) if code == 0 else None

    return call


def test_the_first_and_last_masks_need_not_be_there(run, tmp_path, capsys):
    for name in ('00000', '00003'):
        (tmp_path / f'results/scene-val-001/{name}.png').unlink()
    code, found = run()
    assert code == 0
    assert found['J&F-Mean'] == 100
    rows = capsys.readouterr().out.splitlines()[2:5]
    assert [row.split()[0] for row in rows] == ['scene-val-001', 'scene-val-002', 'all']
    assert list(run('--sequences', 'scene-val-002')[1]['sequences']) == ['scene-val-002']


def test_what_is_wrong_is_one_line(run, tmp_path, capsys):
    (tmp_path / 'results/scene-val-002/00001.png').unlink()
    assert run()[0] == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'error: there is no mask' in error and 'scene-val-002/00001.png' in error
    assert run('--split', 'train-all')[0] == 2
    assert 'ImageSets/2017/train-all.txt: the data root is' in capsys.readouterr().err

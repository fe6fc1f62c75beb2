"""tools/eval_davis.py on drawn videos."""

import json
import shutil

import pytest
import torch

from flsl_mm.datasets import scenes
from flsl_mm.models import FLSLVisionTransformer


@pytest.fixture
def tool(load_tool):
    return load_tool('eval_davis')


@pytest.fixture
def root(tmp_path):
    scenes.write_davis(tmp_path / 'davis', 0, 2, num_frames=4, size=(64, 48))
    return tmp_path / 'davis'


@pytest.fixture
def checkpoint(tmp_path):
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32)
    vit = FLSLVisionTransformer(arch, img_size=64, patch_size=8)
    vit.init_weights()
    torch.save(dict(state_dict=vit.state_dict(), meta=dict(num_heads=2)), tmp_path / 'vit.pth')
    return str(tmp_path / 'vit.pth')


@pytest.fixture
def run(tool, root, tmp_path):
    def call(*arguments):
        paths = [f'--data-root={root}', f'--masks-dir={tmp_path / "masks"}']
        code = tool.main([*arguments, *paths, f'--out={tmp_path / "out.json"}'])
        return code, json.loads((tmp_path / 'out.json').read_text()) if code == 0 else None

    return call


def test_networks_are_compared_and_their_masks_score_the_same(
    run, checkpoint, project_root, capsys
):
    config = str(project_root / 'configs/davis/label-propagation_davis2017-val-480p.py')
    options = ['--config', config, '--cfg-options', 'short_side=128']
    code, found = run(checkpoint, f'random:{checkpoint}', '--device=cpu', *options)
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith('scene-val-')] == [
        'scene-val-001',
        'scene-val-002',
    ] * 2
    results = found['results']
    assert results.keys() == {checkpoint, f'random:{checkpoint}'}
    numbers = results[checkpoint]['davis']
    assert numbers != results[f'random:{checkpoint}']['davis']
    code, found = run('--masks', numbers['masks'])
    assert code == 0
    (scored,) = found['results'].values()
    assert scored['davis'] == {k: v for k, v in numbers.items() if k != 'masks'}
    assert f'{numbers["J&F-Mean"]:.2f}' in capsys.readouterr().out


def test_the_first_and_last_masks_need_not_be_there(run, root, tmp_path):
    shutil.copytree(root / 'Annotations/480p', tmp_path / 'results')
    for name in ('00000', '00003'):
        (tmp_path / f'results/scene-val-001/{name}.png').unlink()
    code, found = run('--masks', str(tmp_path / 'results'))
    assert code == 0
    assert found['results'][str(tmp_path / 'results')]['davis']['J&F-Mean'] == 100


def test_what_is_wrong_with_masks_is_one_line(run, root, tmp_path, capsys):
    shutil.copytree(root / 'Annotations/480p', tmp_path / 'results')
    (tmp_path / 'results/scene-val-002/00001.png').unlink()
    assert run('--masks', str(tmp_path / 'results'))[0] == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert 'error: there is no mask' in error and 'scene-val-002/00001.png' in error


def test_checkpoints_or_masks_are_needed_and_not_both(run, checkpoint, capsys):
    for arguments in ([], [checkpoint, '--masks', 'results']):
        with pytest.raises(SystemExit) as exit:
            run(*arguments)
        assert exit.value.code == 2
        assert 'give either checkpoints or --masks' in capsys.readouterr().err


def test_missing_data_are_one_line(run, checkpoint, capsys):
    assert run(checkpoint, '--split', 'train-all')[0] == 2
    assert 'ImageSets/2017/train-all.txt: the data root is' in capsys.readouterr().err

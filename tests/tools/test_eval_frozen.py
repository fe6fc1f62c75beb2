"""The dense suite from the command line, on drawn scenes."""

import json
import re

import pytest
import torch
from PIL import Image

from flsl_mm.datasets.scenes import write_ade20k, write_coco

NETWORK = 'random:deit-tiny/16'


@pytest.fixture
def main(load_tool):
    return load_tool('eval_frozen').main


@pytest.fixture
def scenes(tmp_path):
    """Three training and two validation scenes in ADE20K's layout."""
    write_ade20k(tmp_path / 'scenes', num_train=3, num_val=2, size=(64, 64))
    return tmp_path / 'scenes'


@pytest.fixture
def run(main, tmp_path):
    def call(*arguments):
        out = tmp_path / 'out.json'
        fixed = ['--out', out, '--device', 'cpu', '--num-workers', 0, '--short-side', 64]
        code = main([str(a) for a in (*fixed, *arguments)])
        return code, json.loads(out.read_text())['results'] if code == 0 else None

    return call


def test_several_networks_stand_in_one_table(run, scenes, build_flsl, tmp_path, capsys):
    model = build_flsl()
    model.init_weights()
    path = str(tmp_path / 'flsl.pth')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(num_heads=3)), path)
    code, results = run(NETWORK, path, '--data', scenes)
    assert code == 0
    first, second = results[NETWORK]['dense'], results[path]['dense']
    assert set(second) - set(first) == {
        'collapse/prototypes_used',
        'collapse/prototype_entropy',
    }
    for name in ('retrieval/mIoU', 'clustering/mIoU', 'clustering/over_aAcc', 'discovery/CorLoc'):
        assert 0 <= first[name] <= 100
    assert 1 <= first['collapse/RankMe'] <= 192
    table = capsys.readouterr().out
    assert NETWORK in table and path in table and 'retrieval' in table and 'CorLoc' in table


def test_data_may_be_coco_style(run, tmp_path):
    pytest.importorskip('pycocotools')
    write_coco(tmp_path / 'coco', num_train=3, num_val=2, size=(96, 64))
    code, results = run(NETWORK, '--data', tmp_path / 'coco')
    assert code == 0
    assert results[NETWORK]['dense']['discovery/details']['images'] == 2


def test_collapse_monitors_alone_need_no_labels(run, image_folder, capsys):
    code, results = run(NETWORK, '--data', image_folder, '--tasks', 'CollapseMonitors')
    assert code == 0
    numbers = results[NETWORK]['dense']
    assert 1 <= numbers['collapse/RankMe'] <= 192 and 0 <= numbers['collapse/ASS_contrast']
    assert run(NETWORK, '--data', image_folder)[0] == 2
    assert 'is in no known layout' in capsys.readouterr().err


def test_data_may_be_a_config_and_tasks_some(run, scenes, tmp_path):
    masks = dict(
        type='MaskFolder',
        images=str(scenes / 'images/training'),
        masks=str(scenes / 'annotations/training'),
        reduce_zero_label=True,
        num_classes=10,
    )
    config = tmp_path / 'data.py'
    config.write_text(f'val = {masks!r}\n')
    code, results = run(NETWORK, '--data', config, '--tasks', 'SegmentationRetrieval')
    assert code == 0
    assert all(name.startswith('retrieval/') for name in results[NETWORK]['dense'])
    code, fewer = run(
        NETWORK, '--data', config, '--tasks', 'SegmentationRetrieval', '--max-images', 2
    )
    assert code == 0 and fewer != results


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--data', 'nowhere'], 'error: there is no folder nowhere'),
        (['--data', '{root}/images'], 'is in no known layout'),
        (
            ['--data', '{root}/images/training/ADE_train_00000001.jpg'],
            'is neither a folder nor a config',
        ),
        (['--data', '{root}', '--max-images', '0'], 'max_images must be positive'),
        (['--data', '{root}', '--short-side', '0'], 'short_side must be at least 1, got 0'),
        (['--data', '{root}', '--num-workers', '-1'], 'num_workers must be at least 0'),
    ],
)
def test_wrong_data_end_with_one_line(main, scenes, arguments, message, capsys):
    assert main([NETWORK, *(a.format(root=scenes) for a in arguments)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert 'error: ' in error and message in error


@pytest.mark.parametrize('workers', [0, 1])
def test_a_mask_that_does_not_fit_ends_with_one_line(run, scenes, workers, capsys):
    Image.new('L', (10, 10)).save(scenes / 'annotations/validation/ADE_val_00000001.png')
    assert run(NETWORK, '--data', scenes, '--num-workers', workers)[0] == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search('error: mask .*1.png is 10 x 10 pixels, its image 64 x 64$', error)


@pytest.mark.parametrize('name', ['ade20k', 'coco'])
def test_the_configs_name_the_layout_of_their_data_set(project_root, name):
    from mmengine.config import Config

    from flsl_mm.datasets import InstanceImages, MaskFolder

    cfg = Config.fromfile(project_root / f'configs/frozen/{name}.py')
    for split in (cfg.train, cfg.val):
        options = dict(split)
        kind = dict(MaskFolder=MaskFolder, InstanceImages=InstanceImages)[options.pop('type')]
        with pytest.raises(FileNotFoundError, match='data/'):
            kind(**options)

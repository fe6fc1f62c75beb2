"""The tasks of tools/eval_frozen.py on drawn scenes and videos, as a user runs them."""

import json
import os
import re
import socket
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from PIL import Image

from flsl_mm.datasets.scenes import write_ade20k, write_coco, write_davis
from flsl_mm.models import FLSLVisionTransformer

NETWORK = 'random:deit-tiny/16'
KNN = ['knn.resize=40', 'knn.crop=32', 'knn.num_workers=0', 'knn.cache_dir=None']


@pytest.fixture
def main(load_tool):
    return load_tool('eval_frozen').main


@pytest.fixture
def checkpoint(tmp_path) -> str:
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32)
    vit = FLSLVisionTransformer(arch, img_size=32, patch_size=8)
    vit.init_weights()
    torch.save(dict(state_dict=vit.state_dict(), meta=dict(num_heads=2)), tmp_path / 'vit.pth')
    return str(tmp_path / 'vit.pth')


@pytest.fixture
def configs(project_root) -> dict[str, str]:
    """The project's configs by name of their first task."""
    names = dict(
        knn='knn/bbox-knn_imagenet',
        subset='knn/bbox-knn_imagenet-subset',
        davis='davis/label-propagation_davis2017-val-480p',
        dense='frozen/coco',
        ade20k='frozen/ade20k',
        collapse='frozen/collapse',
    )
    return {name: str(project_root / f'configs/{path}.py') for name, path in names.items()}


@pytest.fixture
def run(main, configs, tmp_path):
    """Runs a config with options; returns the exit code and the results."""

    def call(config, *checkpoints, options=()):
        out = tmp_path / 'out.json'
        files = [configs.get(config, config), *checkpoints]
        code = main([*files, f'--out={out}', '--device=cpu', '--cfg-options', *options])
        return code, json.loads(out.read_text())['results'] if code == 0 else None

    return call


@pytest.fixture
def scenes(tmp_path):
    """Three training and two validation scenes in ADE20K's layout."""
    write_ade20k(tmp_path / 'scenes', num_train=3, num_val=2, size=(64, 64))
    return tmp_path / 'scenes'


@pytest.fixture
def dense(scenes):
    """Options for small dense tasks on the scenes."""
    return [f'dense.data_root={scenes}', 'dense.short_side=64', 'dense.num_workers=0']


@pytest.mark.parametrize('suite', [False, True])
def test_signs_of_collapse_need_no_labels(run, checkpoint, image_folder, suite, capsys):
    name = 'dense' if suite else 'collapse'
    options = [f'{name}.data_root={image_folder}', f'{name}.short_side=64', f'{name}.num_workers=0']
    if suite:
        options.append('dense.tasks=[{"type": "CollapseMonitors"}]')
    code, results = run(name, checkpoint, options=options)
    assert code == 0
    prefix = 'collapse/' if suite else ''
    numbers = results[checkpoint][name]
    assert 1 <= numbers[f'{prefix}RankMe'] <= 32 and numbers[f'{prefix}ASS_contrast'] > 0
    assert run('dense', checkpoint, options=[f'dense.data_root={image_folder}'])[0] == 2
    assert 'is in no known layout' in last_error(capsys)


def test_a_folder_without_images_is_one_line(run, checkpoint, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    for folder, message in (('empty', 'no images found under'), ('none', 'there is no folder')):
        options = [f'collapse.data_root={tmp_path / folder}']
        assert run('collapse', checkpoint, options=options)[0] == 2
        assert message in last_error(capsys)


def last_error(capsys) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_knn_stands_in_one_table_with_chance_and_keeps_features(
    run, checkpoint, imagenet_boxes, tmp_path, capsys
):
    options = [f'knn.data_root={imagenet_boxes}', *KNN, 'knn.ks=3,1']
    options += [f'knn.cache_dir={tmp_path / "features"}']
    code, results = run('knn', checkpoint, f'random:{checkpoint}', options=options)
    assert code == 0
    table = capsys.readouterr().out.splitlines()[-6:]
    assert table[1].split() == ['network', 'top1_k3', 'top1_k1', 'chance', 'tokens']
    assert [line.split()[0] for line in table[2:4]] == [checkpoint, f'random:{checkpoint}']
    numbers = results[checkpoint]['knn']
    assert numbers['top1_k3'] == 100.0 > numbers['chance']
    assert len(list((tmp_path / 'features').iterdir())) == 4


def test_a_subset_for_knn_is_a_config(run, checkpoint, imagenet_boxes):
    options = [f'knn.data_root={imagenet_boxes}', *KNN, 'knn.ks=2', 'knn.train_per_class=3']
    details = run('subset', checkpoint, options=options)[1][checkpoint]['knn']['details']
    assert details['train']['images'] == 9 and details['test']['images'] == 6


@pytest.mark.parametrize(
    'option, message',
    [
        ('knn.data_root=/nowhere', 'ImageNet: data_root is not a folder: /nowhere'),
        ('knn.ks=9999', 'k = 9999 neighbors asked for, but there are only 108'),
        ('knn.size=3', "unexpected keyword argument 'size'"),
        ('knn.temperature=hot', "BoxKNN: temperature must be a number, got 'hot'"),
        ('knn.ks=1,x', "BoxKNN: ks must be a number, got 'x'"),
        ('knn.train_per_class=x', "train_per_class must be a number, got 'x'"),
        ('knn.max_memory=1000', 'max_memory must be at least'),
        ('knn.num_workers=-1', 'num_workers must be at least 0'),
    ],
)
def test_errors_of_knn_are_one_line(run, checkpoint, imagenet_boxes, option, message, capsys):
    options = [f'knn.data_root={imagenet_boxes}', *KNN, 'knn.ks=1', option]
    assert run('knn', checkpoint, options=options)[0] == 2
    assert message in last_error(capsys)


def test_heads_that_do_not_fit_are_one_line(main, configs, checkpoint, capsys):
    assert main([configs['knn'], checkpoint, '--num-heads=5']) == 2
    assert '5 attention heads do not divide its width of 32' in last_error(capsys)


def work(rank: int, port: int, main, arguments: list[str], out: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR='localhost', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE='2'
    )
    with Path(f'{out}.{rank}').open('w') as text, redirect_stdout(text):
        assert main([*arguments, f'--out={out}', '--launcher', 'pytorch']) == 0


def test_two_processes_print_what_one_prints(main, configs, checkpoint, imagenet_boxes, tmp_path):
    options = [f'knn.data_root={imagenet_boxes}', *KNN, 'knn.batch_size=5', 'knn.ks=3,1']
    arguments = [configs['knn'], checkpoint, '--device=cpu', '--cfg-options', *options]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main([*arguments, f'--out={tmp_path / "one"}']) == 0
    torch.set_num_threads(threads)
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    args = (port, main, arguments, str(tmp_path / 'two'))
    mp.start_processes(work, args, nprocs=2, start_method='fork')
    one, two = (json.loads((tmp_path / name).read_text())['results'] for name in ('one', 'two'))
    assert one == two
    tables = [(tmp_path / f'two.{rank}').read_text().count('top1_k3') for rank in range(2)]
    assert tables == [1, 0]


def test_chance_on_real_images_is_far_above_one_in_the_number_of_classes(run, shared_dir):
    """Any of nine features may be right; at a quarter of the size."""
    options = [f'knn.data_root={shared_dir / "data/imagenet"}', 'knn.resize=64', 'knn.crop=64']
    options += ['knn.cache_dir=None', 'knn.ks=20', 'knn.num_workers=0']
    code, results = run('knn', NETWORK, options=options)
    assert code == 0
    numbers = results[NETWORK]['knn']
    details = numbers['details']
    assert (details['train']['images'], details['train']['classes']) == (164, 73)
    assert (details['test']['images'], details['test']['classes']) == (73, 73)
    assert not any([*details['train']['left_out'].values(), *details['test']['left_out'].values()])
    assert numbers['chance'] > 3 * 100 / 73


def test_the_masks_of_davis_are_kept_and_score_the_same(
    run, load_tool, checkpoint, tmp_path, capsys
):
    write_davis(tmp_path / 'davis', 0, 2, num_frames=4, size=(64, 48))
    options = [f'davis.data_root={tmp_path / "davis"}', 'davis.short_side=128']
    options += [f'davis.out_dir={tmp_path / "masks"}']
    code, results = run('davis', checkpoint, f'random:{checkpoint}', options=options)
    assert code == 0
    numbers = results[checkpoint]['davis']
    assert numbers != results[f'random:{checkpoint}']['davis']
    out = tmp_path / 'scored.json'
    assert numbers.pop('tokens') == 'patches'
    assert numbers.pop('data') == '2 sequences, 4 objects'
    scored = [numbers.pop('masks'), f'--data-root={tmp_path / "davis"}', f'--out={out}']
    assert load_tool('eval_davis').main(scored) == 0
    assert json.loads(out.read_text()) == numbers
    assert f'{numbers["J&F-Mean"]:.2f}' in capsys.readouterr().out
    one = run('davis', checkpoint, options=[*options, 'davis.sequences=scene-val-002'])[1]
    assert list(one[checkpoint]['davis']['sequences']) == ['scene-val-002']
    assert run('davis', checkpoint, options=[*options, 'davis.split=train-all'])[0] == 2
    assert 'ImageSets/2017/train-all.txt: the data root is' in last_error(capsys)


def test_dense_tasks_of_several_networks_stand_in_one_table(
    run, dense, build_flsl, tmp_path, capsys
):
    model = build_flsl()
    model.init_weights()
    path = str(tmp_path / 'flsl.pth')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(num_heads=3)), path)
    code, results = run('ade20k', NETWORK, path, options=dense)
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


def test_data_may_be_coco_style(run, dense, tmp_path):
    pytest.importorskip('pycocotools')
    write_coco(tmp_path / 'coco', num_train=3, num_val=2, size=(96, 64))
    options = [*dense, f'dense.data_root={tmp_path / "coco"}']
    code, results = run('dense', NETWORK, options=options)
    assert code == 0
    assert results[NETWORK]['dense']['discovery/details']['images'] == 2


def test_the_data_may_be_any_images_and_the_tasks_some(run, scenes, tmp_path):
    masks = dict(
        type='MaskFolder',
        images=str(scenes / 'images/training'),
        masks=str(scenes / 'annotations/training'),
        reduce_zero_label=True,
        num_classes=10,
    )
    task = dict(
        type='DenseSuite', val=masks, short_side=64, tasks=[dict(type='SegmentationRetrieval')]
    )
    config = tmp_path / 'data.py'
    config.write_text(f'dense = {task!r}\n')
    found = []
    for option in ('short_side=64', 'images.max_images=2', 'val.reduce_zero_label=False'):
        options = [f'dense.{option}', 'dense.val.num_classes=11']
        code, results = run(str(config), NETWORK, options=options)
        assert code == 0
        assert results[NETWORK]['dense'].pop('tokens') == 'patches'
        assert re.match(r'\d images', results[NETWORK]['dense'].pop('data'))
        assert all(name.startswith('retrieval/') for name in results[NETWORK]['dense'])
        found.append(results[NETWORK]['dense']['retrieval/aAcc'])
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('data_root=nowhere', 'error: there is no folder nowhere'),
        ('data_root={root}/images', 'is in no known layout'),
        ('data_root=None', 'needs either val or data_root'),
        ('val={{"type": "MaskFolder"}}', 'needs either val or data_root'),
        ('images.max_images=0', 'max_images must be positive'),
        ('images.zero=1', "unexpected keyword argument 'zero'"),
        ('short_side=0', 'short_side must be at least 1, got 0'),
        ('num_workers=-1', 'num_workers must be at least 0'),
    ],
)
def test_wrong_data_end_with_one_line(run, dense, scenes, option, message, capsys):
    options = [*dense, f'dense.{option.format(root=scenes)}']
    assert run('ade20k', NETWORK, options=options)[0] == 2
    error = last_error(capsys)
    assert 'error: ' in error and message in error


@pytest.mark.parametrize('workers', [0, 1])
def test_a_mask_that_does_not_fit_ends_with_one_line(run, dense, scenes, workers, capsys):
    Image.new('L', (10, 10)).save(scenes / 'annotations/validation/ADE_val_00000001.png')
    options = [*dense, f'dense.num_workers={workers}']
    assert run('ade20k', NETWORK, options=options)[0] == 2
    assert re.search(
        'error: mask .*1.png is 10 x 10 pixels, its image 64 x 64$', last_error(capsys)
    )

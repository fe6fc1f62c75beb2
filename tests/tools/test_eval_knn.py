"""k-NN from the command line, as a user runs it."""

import json
import os
import socket
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from flsl_mm.models import FLSLVisionTransformer

SMALL = ['--cfg-options', 'resize=40', 'crop=32', '--num-workers', '0', '--device', 'cpu']


@pytest.fixture
def eval_knn(load_tool):
    return load_tool('eval_knn').main


@pytest.fixture
def checkpoint(tmp_path) -> str:
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32)
    vit = FLSLVisionTransformer(arch, img_size=32, patch_size=8)
    vit.init_weights()
    torch.save(dict(state_dict=vit.state_dict(), meta=dict(num_heads=2)), tmp_path / 'vit.pth')
    return str(tmp_path / 'vit.pth')


def test_several_checkpoints_stand_in_one_table_with_chance(
    eval_knn, checkpoint, imagenet_boxes, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = [checkpoint, f'random:{checkpoint}', '--data-root', str(imagenet_boxes), *SMALL]
    assert eval_knn([*arguments, '--ks', '3', '1']) == 0
    table = capsys.readouterr().out.splitlines()[-5:]
    assert table[1].split() == ['network', 'top1_k3', 'top1_k1', 'chance']
    assert [line.split()[0] for line in table[2:4]] == [checkpoint, f'random:{checkpoint}']
    content = json.loads(Path('work_dirs/eval_knn.json').read_text())
    numbers = content['results'][checkpoint]['knn']
    assert numbers['top1_k3'] == 100.0 > numbers['chance']
    assert content['settings']['ks'] == [3, 1]
    assert len(list(Path('work_dirs/knn_features').iterdir())) == 4


def test_the_config_gives_settings_and_the_command_line_overrides_them(
    eval_knn, checkpoint, imagenet_boxes, project_root, tmp_path
):
    config = str(project_root / 'configs/knn/bbox-knn_imagenet-subset.py')
    out = tmp_path / 'out.json'
    options = ['--config', config, '--ks', '2', '--cache-dir', '', '--out', str(out)]
    arguments = [checkpoint, '--data-root', str(imagenet_boxes), *SMALL, *options]
    assert eval_knn([*arguments, '--train-per-class', '3']) == 0
    details = json.loads(out.read_text())['results'][checkpoint]['knn']['details']
    assert details['train']['images'] == 9 and details['test']['images'] == 6


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--data-root', '/nowhere'], 'ImageNet: data_root is not a folder: /nowhere'),
        (['--ks', '9999'], 'k = 9999 neighbors asked for, but there are only 108'),
        (['--cfg-options', 'size=3'], "unexpected keyword argument 'size'"),
        (['--cfg-options', 'temperature=hot'], "BoxKNN: temperature must be a number, got 'hot'"),
        (['--cfg-options', 'ks=1,x'], "BoxKNN: ks must be a number, got 'x'"),
        (['--cfg-options', 'train_per_class=x'], "train_per_class must be a number, got 'x'"),
        (['--config', '/nowhere.py'], '/nowhere.py'),
        (['--max-memory', '1000'], 'max_memory must be at least'),
        (['--num-workers', '-1'], 'num_workers must be at least 0'),
        (['--num-heads', '5'], '5 attention heads do not divide its width of 32'),
    ],
)
def test_errors_are_one_line(eval_knn, checkpoint, imagenet_boxes, arguments, message, capsys):
    common = [checkpoint, '--data-root', str(imagenet_boxes), '--cache-dir', '', '--ks', '1']
    assert eval_knn([*common, *SMALL, *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def work(rank: int, port: int, eval_knn, arguments: list[str], out: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        MASTER_ADDR='localhost', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE='2'
    )
    with Path(f'{out}.{rank}').open('w') as text, redirect_stdout(text):
        assert eval_knn([*arguments, out, '--launcher', 'pytorch']) == 0


def test_two_processes_print_what_one_prints(eval_knn, checkpoint, imagenet_boxes, tmp_path):
    arguments = [checkpoint, '--data-root', str(imagenet_boxes), *SMALL, '--batch-size', '5']
    arguments += ['--ks', '3', '1', '--cache-dir', '', '--out']
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert eval_knn([*arguments, str(tmp_path / 'one')]) == 0
    torch.set_num_threads(threads)
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    args = (port, eval_knn, arguments, str(tmp_path / 'two'))
    mp.start_processes(work, args, nprocs=2, start_method='fork')
    one, two = (json.loads((tmp_path / name).read_text())['results'] for name in ('one', 'two'))
    assert one == two
    tables = [(tmp_path / f'two.{rank}').read_text().count('top1_k3') for rank in range(2)]
    assert tables == [1, 0]


def test_chance_on_real_images_is_far_above_one_in_the_number_of_classes(
    eval_knn, shared_dir, tmp_path
):
    """Any of nine features may be right; at a quarter of the size."""
    out = tmp_path / 'out.json'
    arguments = ['random:deit-tiny/16', '--data-root', str(shared_dir / 'data/imagenet')]
    arguments += ['--cfg-options', 'resize=64', 'crop=64', '--cache-dir', '', '--ks', '20']
    assert eval_knn([*arguments, '--device', 'cpu', '--num-workers', '0', '--out', str(out)]) == 0
    [numbers] = [found['knn'] for found in json.loads(out.read_text())['results'].values()]
    details = numbers['details']
    assert (details['train']['images'], details['train']['classes']) == (164, 73)
    assert (details['test']['images'], details['test']['classes']) == (73, 73)
    assert not any([*details['train']['left_out'].values(), *details['test']['left_out'].values()])
    assert numbers['chance'] > 3 * 100 / 73

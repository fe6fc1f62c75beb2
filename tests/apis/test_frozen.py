"""The frame of the tools that evaluate frozen networks, with a task that looks at the tokens."""

import json

import pytest
import torch

from flsl_mm.apis.command_line import frozen_parser
from flsl_mm.apis.frozen import run_frozen_command
from flsl_mm.evaluation.tasks.frozen_task import FrozenTask
from flsl_mm.models import FLSLVisionTransformer
from flsl_mm.utils.errors import DataError


class MeanToken(FrozenTask):
    name, headline = 'token', 'mean'

    def __call__(self, vit):
        assert not vit.training
        tokens = vit.forward_tokens([torch.ones(1, 3, 32, 32)])[0]
        return dict(mean=tokens.mean().item(), share=float('nan'), details=dict(count=4))


class Broken(FrozenTask):
    name, headline = 'broken', 'none'

    def __call__(self, vit):
        raise DataError('frame 3 of dog is missing')


@pytest.fixture
def files(tmp_path):
    """Two checkpoints of a small ViT."""
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=32)
    paths = []
    for value in (1.0, 2.0):
        vit = FLSLVisionTransformer(arch, img_size=32, patch_size=16)
        torch.nn.init.zeros_(vit.ln1.weight)
        torch.nn.init.constant_(vit.ln1.bias, value)
        paths.append(str(tmp_path / f'vit{value:g}.pth'))
        torch.save(dict(state_dict=vit.state_dict(), meta=dict(num_heads=2)), paths[-1])
    return paths


def run(tmp_path, *arguments, tasks=None, build_tasks=None):
    parser = frozen_parser('An example.', out=str(tmp_path / 'out.json'))
    build_tasks = build_tasks or (lambda args: tasks or [MeanToken()])
    return run_frozen_command(parser, build_tasks, arguments)


def test_several_checkpoints_stand_in_one_table_and_one_file(files, tmp_path, capsys):
    assert run(tmp_path, *files, '--device', 'cpu') == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ['token'],
        ['network', 'mean', 'share'],
        [files[0], '1.00', 'nan'],
        [files[1], '2.00', 'nan'],
    ]
    content = json.loads((tmp_path / 'out.json').read_text())
    expected = dict(mean=1.0, share=None, details=dict(count=4))
    assert content['results'][files[0]] == dict(token=expected)
    assert content['settings']['checkpoints'] == files
    assert content['settings']['device'] == 'cpu'


def test_what_was_computed_before_an_error_is_kept(files, tmp_path, capsys):
    assert run(tmp_path, files[0], tasks=[MeanToken(), Broken()]) == 2
    assert capsys.readouterr().err.endswith('error: frame 3 of dog is missing\n')
    assert json.loads((tmp_path / 'out.json').read_text())['results'][files[0]]['token']


def test_the_table_is_printed_though_the_file_cannot_be_written_in_the_end(
    files, tmp_path, capsys, monkeypatch
):
    def fail(path, content):
        raise OSError(f'{path}: no space left on device')

    monkeypatch.setattr('flsl_mm.apis.frozen.write_json', fail)
    assert run(tmp_path, files[0]) == 2
    captured = capsys.readouterr()
    assert f'{files[0]}  1.00' in captured.out and 'written' not in captured.out
    assert captured.err.endswith('out.json: no space left on device\n')


def test_a_wrong_checkpoint_shows_before_the_data_are_looked_at(files, tmp_path, capsys):
    def build_tasks(args):
        raise AssertionError('the data were looked at')

    assert run(tmp_path, files[0], 'missing.pth', build_tasks=build_tasks) == 2
    assert 'error: missing.pth: no such file' in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


def test_a_file_that_cannot_be_written_is_one_line(files, tmp_path, capsys):
    (tmp_path / 'taken').touch()
    assert run(tmp_path, files[0], f'--out={tmp_path / "taken/out.json"}') == 2
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()  # nothing has been computed
    assert 'error: ' in line and 'taken/out.json cannot be written' in line


def test_a_network_of_random_weights_is_a_checkpoint_too(files, tmp_path):
    random = f'random:{files[0]}'
    assert run(tmp_path, random, files[0], '--device', 'cpu') == 0
    results = json.loads((tmp_path / 'out.json').read_text())['results']
    assert results[random]['token']['mean'] != results[files[0]]['token']['mean']


def test_a_device_that_is_not_there_is_refused(files, tmp_path, capsys):
    assert run(tmp_path, files[0], '--device', 'cuda:63') == 2
    assert "'cuda:63' cannot be used" in capsys.readouterr().err

"""The frame of frozen evaluation, with a task that looks at the tokens."""

import json

import pytest
import torch

from flsl_mm.apis.frozen import build_task, read_tasks
from flsl_mm.evaluation.tasks.frozen_task import FrozenTask
from flsl_mm.models import FLSLVisionTransformer
from flsl_mm.registry import FROZEN_TASKS
from flsl_mm.utils.errors import ConfigError, DataError


class MeanToken(FrozenTask):
    name, headline = 'token', 'mean'

    def __init__(self, factor=1):
        self.factor = factor

    def __call__(self, vit):
        assert not vit.training
        tokens = vit.forward_tokens([torch.ones(1, 3, 32, 32)])[0]
        mean = self.factor * tokens.mean().item()
        return dict(mean=mean, share=float('nan'), details=dict(count=4))


class Broken(MeanToken):
    def __call__(self, vit):
        raise DataError('frame 3 of dog is missing')


class Unbuilt(MeanToken):
    def __init__(self):
        raise AssertionError('the data were looked at')


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for cls in (MeanToken, Broken, Unbuilt):
        monkeypatch.setitem(FROZEN_TASKS.module_dict, cls.__name__, cls)


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


@pytest.fixture
def run(load_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, config="token = dict(type='MeanToken')"):
        (tmp_path / 'tasks.py').write_text(config)
        return load_tool('eval_frozen').main(['tasks.py', *arguments])

    return call


def results(path='work_dirs/tasks.json'):
    with open(path) as file:
        return json.load(file)['results']


def test_several_checkpoints_stand_in_one_table_and_one_file(run, files, tmp_path, capsys):
    assert run(files[0], f'twice={files[1]}', '--device', 'cpu') == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(['token'])  # after what the checkpoints' loading has to say
    assert lines[start : start + 4] == [
        ['token'],
        ['network', 'mean', 'share', 'tokens'],
        [files[0], '1.00', 'nan', 'patches'],
        ['twice', '2.00', 'nan', 'patches'],
    ]
    content = json.loads((tmp_path / 'work_dirs/tasks.json').read_text())
    expected = dict(mean=1.0, share=None, details=dict(count=4), tokens='patches')
    assert content['results'][files[0]] == dict(token=expected)
    assert content['settings']['tasks'] == dict(token=dict(type='MeanToken'))
    assert content['settings']['device'] == 'cpu'


def test_tasks_have_the_names_and_settings_of_config_and_options(run, files):
    config = """
factor = 3
_half = dict(type='MeanToken', factor=0.5)
whole = dict(type='MeanToken', factor=factor)
half = dict(_half)
"""
    options = ['--device=cpu', '--cfg-options', 'factor=7', 'half.factor=0.25']
    assert run(files[0], *options, config=config) == 0
    found = results()[files[0]]
    assert {name: numbers['mean'] for name, numbers in found.items()} == dict(whole=7, half=0.25)


@pytest.mark.parametrize(
    ('config', 'options', 'message'),
    [
        ('model = dict()', [], 'tasks.py has no frozen task'),
        ("knn = dict(type='BoxKnn')", [], "there is no frozen task of type 'BoxKnn'"),
        ("token = dict(type='MeanToken')", ['tokn.factor=2'], 'no entry tokn; is it token?'),
        ("token = dict(type='MeanToken')", ['train_cfg.max_epochs=2'], 'has no entry train_cfg'),
        ("token = dict(type='MeanToken')", ['token.fact=2'], "unexpected keyword argument 'fact'"),
        ("a = dict(type='MeanToken')\nb = 1", ['b=2'], 'b is read by nothing of'),
    ],
)
def test_what_is_wrong_with_a_config_is_one_line(run, files, capsys, config, options, message):
    options = options and ['--cfg-options', *options]
    assert run(files[0], '--device=cpu', *options, config=config) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert 'error: ' in line and message in line


def test_what_was_computed_before_an_error_is_kept(run, files, capsys):
    config = "token = dict(type='MeanToken')\nbroken = dict(type='Broken')"
    assert run(files[0], config=config) == 2
    assert capsys.readouterr().err.endswith('error: frame 3 of dog is missing\n')
    assert results()[files[0]]['token']


def test_the_table_is_printed_though_the_file_cannot_be_written_in_the_end(
    run, files, capsys, monkeypatch
):
    def fail(path, content):
        raise OSError(f'{path}: no space left on device')

    monkeypatch.setattr('flsl_mm.apis.frozen.write_json', fail)
    assert run(files[0]) == 2
    captured = capsys.readouterr()
    assert f'{files[0]}  1.00' in captured.out and 'written' not in captured.out
    assert captured.err.endswith('tasks.json: no space left on device\n')


def test_a_wrong_checkpoint_shows_before_the_data_are_looked_at(run, files, tmp_path, capsys):
    assert run(files[0], 'missing.pth', config="a = dict(type='Unbuilt')") == 2
    assert 'error: missing.pth: no such file' in capsys.readouterr().err
    assert not (tmp_path / 'work_dirs/tasks.json').exists()


def test_a_file_that_cannot_be_written_is_one_line(run, files, tmp_path, capsys):
    (tmp_path / 'taken').touch()
    assert run(files[0], '--out=taken/out.json') == 2
    [line] = capsys.readouterr().err.splitlines()  # nothing has been computed
    assert 'error: ' in line and 'taken/out.json cannot be written' in line


def test_a_network_of_random_weights_is_a_checkpoint_too(run, files):
    random = f'random:{files[0]}'
    assert run(random, files[0], '--device', 'cpu') == 0
    assert results()[random]['token']['mean'] != results()[files[0]]['token']['mean']


def test_two_networks_of_one_name_are_refused(run, files, capsys):
    assert run(*(f'A={file}' for file in files)) == 2
    assert 'two networks are called A' in capsys.readouterr().err


def test_a_device_that_is_not_there_is_refused(run, files, capsys):
    assert run(files[0], '--device', 'cuda:63') == 2
    assert "'cuda:63' cannot be used" in capsys.readouterr().err


def test_the_configs_name_tasks_and_data_that_are_not_in_the_project(project_root):
    paths = [p for f in ('knn', 'davis', 'frozen') for p in project_root.glob(f'configs/{f}/*.py')]
    found = {path.stem: read_tasks(path, {}) for path in paths}
    assert list(found['all']) == ['knn', 'davis', 'dense'] and len(found) == 8
    for tasks in found.values():
        for settings in tasks.values():
            with pytest.raises(FileNotFoundError, match='data/'):
                build_task(settings)


def test_a_training_config_has_no_frozen_task(project_root):
    path = next(project_root.glob('configs/pretrain/*.py'))
    with pytest.raises(ConfigError, match='there is no frozen task of type'):
        [build_task(settings) for settings in read_tasks(path, {}).values()]

import re

import pytest
from mmpretrain.registry import MODELS

import flsl_mm  # noqa: F401  (registers the models)
from flsl_mm.apis.command_line import read_config_file, run_command, split_name
from flsl_mm.checkpoint import CheckpointError
from flsl_mm.utils.errors import ConfigError, DataError


@pytest.mark.parametrize(
    'text, expected',
    [
        ('FLSL=runs/a.pth', ('FLSL', 'runs/a.pth')),
        ('runs/lr=1/a.pth', (None, 'runs/lr=1/a.pth')),
        ('random:deit-small/16', (None, 'random:deit-small/16')),
        ('before=random:a=b.pth', ('before', 'random:a=b.pth')),
        ('a.pth', (None, 'a.pth')),
    ],
)
def test_a_name_is_what_is_before_an_equals_sign_of_no_path(text, expected):
    assert split_name(text) == expected


@pytest.mark.parametrize('option', ['model.depth.x', 'stages.5.depth', 'stages.last.depth'])
def test_an_override_that_does_not_fit_is_one_clear_line(tmp_path, option):
    path = tmp_path / 'config.py'
    path.write_text('stages = [dict(depth=1)]\nmodel = dict(depth=2, stages=stages)\n')
    assert read_config_file(path, {'model.depth': 3}).model.depth == 3
    with pytest.raises(ConfigError, match='--cfg-options do not fit .*config.py: '):
        read_config_file(path, {option: 1})


def test_a_file_with_an_equals_sign_in_its_name_has_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'lr=1.pth').touch()
    assert split_name('lr=1.pth') == (None, 'lr=1.pth')


@pytest.mark.parametrize(
    'error, line',
    [
        (DataError('a.png: not an image'), 'a.png: not an image'),
        (CheckpointError('a.pth: no such file'), 'a.pth: no such file'),
        (OSError('disk full'), 'disk full'),
        (DataError('Caught in a worker\n  at x.py\nflsl_mm.DataError: no image'), 'no image'),
    ],
)
def test_what_is_wrong_with_files_is_one_line_and_an_exit_code(error, line, capsys):
    def fail():
        raise error

    assert run_command('tool.py', fail) == 2
    assert capsys.readouterr().err == f'tool.py: error: {line}\n'


def test_a_mistake_in_the_code_keeps_its_traceback():
    with pytest.raises(IndexError):
        run_command('tool.py', lambda: [][0])
    assert run_command('tool.py', list) == 0


@pytest.mark.parametrize(
    'config, line',
    [
        (dict(type='MeanShiftNeck', self_scal=1), "unexpected keyword argument 'self_scal': look"),
        (dict(type='MeanShiftNeck'), "missing 1 required positional argument: 'self_scale'"),
        (dict(type='MeanShiftNek'), 'MeanShiftNek is not in the mmpretrain::model registry'),
        (dict(type='FLSLHead', in_channels=8, num_layers=0), 'num_layers must be at least 1'),
    ],
)
def test_a_mistake_in_a_config_is_one_line(config, line, capsys):
    assert run_command('tool.py', lambda: MODELS.build(config)) == 2
    [printed] = capsys.readouterr().err.splitlines()
    assert line in printed


def test_another_type_error_keeps_its_traceback():
    with pytest.raises(TypeError):
        run_command('tool.py', lambda: 1 + '1')


def test_an_interrupted_tool_says_so_in_one_line(capsys):
    def interrupt():
        raise KeyboardInterrupt

    assert run_command('tool.py', interrupt) == 130
    assert capsys.readouterr().err == 'tool.py: interrupted\n'


@pytest.mark.parametrize('name', ['compile', 'load_from', 'model', 'test_evaluator'])
def test_overrides_of_entries_that_a_config_may_have_are_taken(tmp_path, name):
    path = tmp_path / 'config.py'
    path.write_text('model = 1\n')
    assert read_config_file(path, {name: 2})[name] == 2


@pytest.mark.parametrize(
    'option, advice', [('modell.depth', '; is it model?'), ('pretrain', '; is it pretrained?')]
)
def test_a_misspelt_override_is_refused(tmp_path, option, advice):
    path = tmp_path / 'config.py'
    path.write_text('model = dict(depth=2)\n')
    with pytest.raises(ConfigError, match=f'has no entry .*{re.escape(advice)}$'):
        read_config_file(path, {option: 1})

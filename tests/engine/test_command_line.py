import pytest

from flsl_mm.checkpoint import CheckpointError
from flsl_mm.data_error import DataError
from flsl_mm.engine.command_line import read_config_file, run_command, split_name


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
    path.write_text('model = dict(depth=2)\nstages = [dict(depth=1)]\n')
    assert read_config_file(path, {'model.depth': 3}).model.depth == 3
    with pytest.raises(DataError, match='--cfg-options do not fit .*config.py: '):
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

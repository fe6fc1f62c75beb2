"""What every tool answers at once, before torch is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
NAMES = sorted(
    str(path.relative_to(TOOLS))
    for path in TOOLS.glob('**/*.py')
    if '__tool__ = True' in path.read_text()
)
# Runs a tool as a program and says, last, whether it has imported torch.
PROGRAM = """
import atexit, os, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
sys.modules['__main__'].__tool__ = True  # runpy has not put the tool in its place yet
atexit.register(lambda: print('torch' in sys.modules))
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture
def run(tool_environment, tmp_path):
    def call(name: str, *arguments: str) -> tuple[int, bool, str]:
        done = subprocess.run(
            [sys.executable, '-c', PROGRAM, TOOLS / name, *arguments],
            env=tool_environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout.split()[-1] == 'True', done.stderr

    return call


@pytest.mark.parametrize('name', NAMES)
def test_help_and_a_misspelt_option_need_no_torch(run, name):
    assert run(name, '--help') == (0, False, '')
    code, torch_imported, error = run(name, '--hepl')
    assert (code, torch_imported) == (2, False) and 'error: ' in error


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        ('train.py none.py', 'there is no config file none.py'),
        ('test.py none.py none.pth', 'there is no config file none.py'),
        ('eval_frozen.py none.py none.pth', 'there is no config file none.py'),
        ('eval_frozen.py . A=none.pth', 'there is no config file .'),
        ('visualize.py pca . --checkpoints A=none.pth', 'none.pth: no such file'),
        ('model_converters/publish_model.py none.pth out.pth', 'none.pth: no such file'),
        ('eval_uavdt.py none none', 'none'),
        ('embed.py A=none.pth . out', 'nothing here shows the name A: give none.pth alone'),
        ('model_converters/publish_model.py A=none.pth out.pth', 'give none.pth alone'),
    ],
)
def test_a_missing_file_is_one_line_without_torch(run, command, message):
    code, torch_imported, error = run(*command.split())
    assert (code, torch_imported) == (2, False)
    assert 'error: ' in error and message in error.splitlines()[-1]


@pytest.mark.parametrize(
    'rank, first', [('0', 'loading torch and OpenMMLab ...'), ('1', 'error: ')]
)
def test_a_tool_says_at_once_that_it_loads_torch(rank, first):
    """On stderr, and of several processes the first alone; then it goes on."""
    done = subprocess.run(
        [sys.executable, TOOLS / 'analysis_tools/plot_curves.py', 'none'],
        env=dict(os.environ, RANK=rank, PYTHONPATH=str(TOOLS.parent)),
        capture_output=True,
        text=True,
    )
    assert done.stdout == '' and done.returncode == 2
    assert done.stderr.startswith(f'plot_curves.py: {first}')
    assert done.stderr.splitlines()[-1].startswith('plot_curves.py: error: no training log in none')

"""Every way in which setting up fails, told in one line; nothing is downloaded."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

Usage = namedtuple('Usage', 'total used free')


@pytest.fixture
def setup_env(project_root, tmp_path, monkeypatch):
    """The script, building in a temporary folder, with this Python as the environment's."""
    path = project_root / 'tools' / 'setup_env.py'
    spec = importlib.util.spec_from_file_location('setup_env', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / '.venv'
    venv.mkdir()
    for name, value in dict(
        VENV=venv, PYTHON=Path(sys.executable), LOG=venv / 'setup.log', STAMP=venv / '.flsl-setup'
    ).items():
        monkeypatch.setattr(module, name, value)
    return module


def fail_with(setup_env, function, *arguments) -> str:
    """The one line that a failing step says."""
    with pytest.raises(setup_env.SetupError) as caught:
        function(*arguments)
    line = str(caught.value)
    assert '\n' not in line
    return line


@pytest.mark.parametrize('version', [(3, 9, 2), (3, 14, 0), (2, 7, 18)])
def test_another_python_is_refused(setup_env, version):
    line = fail_with(setup_env, setup_env.check_machine, 'linux', version)
    assert f'Python {version[0]}.{version[1]} is not supported' in line
    assert 'make setup PYTHON=' in line


@pytest.mark.parametrize('minor', [10, 11, 12, 13])
def test_python_310_to_313_is_accepted(setup_env, minor):
    setup_env.check_machine('linux', (3, minor, 1))


def test_another_system_is_refused(setup_env):
    assert 'WSL' in fail_with(setup_env, setup_env.check_machine, 'win32', (3, 11))


@pytest.mark.parametrize(('variable', 'hint'), [('ROOT', 'free some space'), ('TEMP', 'TMPDIR')])
def test_a_full_disk_is_refused(setup_env, monkeypatch, tmp_path, variable, hint):
    full = setup_env.ROOT if variable == 'ROOT' else tmp_path / 'temporary'
    monkeypatch.setattr(setup_env.tempfile, 'gettempdir', lambda: str(tmp_path / 'temporary'))
    free = {full: 1.5 * 2**30}
    monkeypatch.setattr(
        setup_env.shutil, 'disk_usage', lambda path: Usage(0, 0, free.get(path, 2**40))
    )
    line = fail_with(setup_env, setup_env.check_machine, 'linux', (3, 11, 1))
    assert f'{full} has 1.5 GB free' in line
    assert hint in line
    (setup_env.VENV / 'lib/python3.11/site-packages/torch').mkdir(parents=True)
    setup_env.check_machine('linux', (3, 11, 1))  # mending needs little


def pip_that(setup_env, monkeypatch, tmp_path, code: str) -> None:
    """Puts a program in the place of the environment's Python, whatever it is asked to run."""
    program = tmp_path / 'python'
    program.write_text(f'#!{sys.executable}\n{code}\n')
    program.chmod(0o755)
    monkeypatch.setattr(setup_env, 'PYTHON', program)


def test_a_failed_installation_names_the_log_that_holds_everything_it_said(
    setup_env, monkeypatch, tmp_path
):
    code = 'import sys; print("details"); sys.exit("ERROR: No matching distribution found for x")'
    pip_that(setup_env, monkeypatch, tmp_path, code)
    line = fail_with(setup_env, setup_env.pip_install, 'x')
    reason = 'ERROR: No matching distribution found for x'
    assert line == f'installing x: {reason}; log: {setup_env.LOG}'
    assert 'details\n' in setup_env.LOG.read_text()


def test_a_failure_is_explained_by_its_own_part_of_the_log(setup_env, monkeypatch, tmp_path):
    setup_env.LOG.write_text('No space left on device\n')
    pip_that(setup_env, monkeypatch, tmp_path, 'exit(1)')
    assert 'installing x: pip failed' in fail_with(setup_env, setup_env.pip_install, 'x')


@pytest.mark.parametrize(
    ('log', 'expected'),
    [
        ('OSError: [Errno 28] No space left on device', 'the disk is full'),
        (
            'Retrying: NameResolutionError("x")\nERROR: No matching distribution found for torch',
            'cannot be reached',
        ),
        ('SSLError(SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED"))', 'PIP_CERT'),
        (
            'ERROR: No matching distribution found for torch==2.14.1\nmore',
            'ERROR: No matching distribution found for torch==2.14.1',
        ),
    ],
)
def test_common_failures_are_explained(setup_env, log, expected):
    explanation = setup_env.explain(log)
    assert expected in explanation
    assert '\n' not in explanation


def test_an_environment_that_works_is_kept(setup_env, capsys):
    setup_env.create_venv()
    assert 'kept' in capsys.readouterr().out


def test_a_broken_environment_is_made_anew(setup_env, monkeypatch):
    broken = setup_env.VENV / 'bin' / 'python'
    broken.parent.mkdir()
    broken.write_text('not a program')
    monkeypatch.setattr(setup_env, 'PYTHON', broken)
    setup_env.create_venv()
    assert setup_env.ask_python('print(1)') == '1'


def test_a_python_without_venv_is_told(setup_env, monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env, 'PYTHON', tmp_path / 'absent')
    monkeypatch.setattr(setup_env.sys, '_base_executable', shutil.which('false'))
    assert 'python3-venv' in fail_with(setup_env, setup_env.create_venv)


def test_operators_come_from_torchvision_where_mmcv_has_none(setup_env, tmp_path):
    package = setup_env.VENV / 'mmcv'  # ask_python runs there, so this one is found
    package.mkdir()
    (package / '__init__.py').touch()
    setup_env.add_operators()
    assert (package / '_ext.py').read_bytes() == setup_env.STAND_IN.read_bytes()
    code = 'import mmcv._ext; print(mmcv._ext.operators_in_use())'
    assert setup_env.ask_python(code) == 'torchvision'


def test_packages_that_cannot_be_imported_fail_the_setup(setup_env):
    (setup_env.VENV / 'cv2.py').write_text('raise ImportError("libGL.so.1 is missing")\n')
    line = fail_with(setup_env, setup_env.verify)
    assert 'the environment does not work (ImportError: libGL.so.1 is missing)' in line
    assert 'make setup' in line
    assert 'libGL' in setup_env.LOG.read_text()


def test_the_environment_is_out_of_date_when_a_pin_changes(setup_env, monkeypatch, tmp_path):
    pins = tmp_path / 'constraints.txt'
    pins.write_text('torch==2.13.0\n')
    monkeypatch.setattr(setup_env, 'SOURCES', (pins,))
    setup_env.STAMP.write_text(setup_env.fingerprint())
    assert setup_env.is_up_to_date()
    pins.write_text('torch==2.14.1\n')
    assert not setup_env.is_up_to_date()


def test_variables_that_lead_out_of_the_environment_are_dropped(setup_env, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    monkeypatch.setenv('PIP_INDEX_URL', 'https://mirror.example/simple')
    environment = setup_env.clean_environment()
    assert 'PYTHONPATH' not in environment
    assert environment['PIP_INDEX_URL'] == 'https://mirror.example/simple'


@pytest.mark.parametrize('python', ['', '/nonexistent/python3', 'false'])
def test_make_says_in_one_line_that_no_python_fits(project_root, python):
    result = subprocess.run(
        ['make', '--silent', 'setup', f'PYTHON={python}'],
        cwd=project_root,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert result.returncode
    lines = [line for line in result.stderr.splitlines() if not line.startswith('make')]
    assert len(lines) == 1
    assert 'no Python 3.10-3.13' in lines[0]

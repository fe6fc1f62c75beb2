"""Every way in which setting up fails, told in one line; nothing is downloaded or compiled."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

KEY = 'torch2.11.0-cp311-cpu'
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
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('CXX', raising=False)
    return module


@pytest.fixture
def cpu(setup_env):
    """The target on a machine without a GPU."""
    return setup_env.Target(KEY, 'CPU')


@pytest.fixture
def fake_pip(setup_env, monkeypatch):
    """Replaces `run`: a `pip wheel` writes a wheel; gives the list of commands."""
    commands = []

    def run(command, purpose, env=None):
        commands.append(list(map(str, command)))
        if '-w' in command:
            folder = Path(command[command.index('-w') + 1])
            wheel = f'onedl_mmcv-{setup_env.pinned("onedl-mmcv")}-cp311-cp311-linux_x86_64.whl'
            with zipfile.ZipFile(folder / wheel, 'w') as archive:
                archive.writestr('mmcv/_ext.so', 'compiled')

    monkeypatch.setattr(setup_env, 'run', run)
    monkeypatch.setattr(setup_env, 'check_compiler', lambda: None)
    return commands


def fail_with(setup_env, function, *arguments) -> str:
    """The one line that a failing step says."""
    with pytest.raises(setup_env.SetupError) as caught:
        function(*arguments)
    line = str(caught.value)
    assert '\n' not in line
    return line


@pytest.mark.parametrize('version', [(3, 9, 2), (3, 13, 0), (2, 7, 18)])
def test_another_python_is_refused(setup_env, version):
    line = fail_with(setup_env, setup_env.check_machine, 'linux', version)
    assert f'Python {version[0]}.{version[1]} is not supported' in line
    assert 'make setup PYTHON=' in line


@pytest.mark.parametrize('minor', [10, 11, 12])
def test_python_310_to_312_is_accepted(setup_env, minor):
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
    line = fail_with(setup_env, setup_env.check_disk)
    assert f'{full} has 1.5 GB free' in line
    assert hint in line


def test_no_compiler_is_refused(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    line = fail_with(setup_env, setup_env.check_compiler)
    assert 'no C++ compiler' in line
    assert 'apt install g++' in line


@pytest.mark.parametrize(
    ('lacking', 'remedy'), [('vector', 'GCC 9 or newer'), ('Python.h', 'python3-dev')]
)
def test_a_compiler_without_headers_is_refused(setup_env, monkeypatch, tmp_path, lacking, remedy):
    compiler = tmp_path / 'compiler'
    compiler.write_text(f'#!/bin/sh\n! grep -q {lacking}\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    line = fail_with(setup_env, setup_env.check_compiler)
    assert f'<{lacking}>' in line
    assert remedy in line


def test_a_failed_command_names_the_log_that_holds_everything_it_said(setup_env):
    script = 'import sys; print("details"); sys.exit("ERROR: it broke")'
    line = fail_with(setup_env, setup_env.run, [sys.executable, '-c', script], 'trying')
    assert line == f'trying: ERROR: it broke; log: {setup_env.LOG}'
    assert 'details\n' in setup_env.LOG.read_text()


def test_a_command_is_explained_by_its_own_part_of_the_log(setup_env):
    setup_env.LOG.write_text('No space left on device\n')
    line = fail_with(setup_env, setup_env.run, [sys.executable, '-c', 'exit(1)'], 'trying')
    assert 'trying: the command failed' in line


@pytest.mark.parametrize(
    ('log', 'expected'),
    [
        ('OSError: [Errno 28] No space left on device', 'the disk is full'),
        (
            'Retrying: NameResolutionError("x")\nERROR: No matching distribution found for torch',
            'cannot be reached',
        ),
        ('ERROR: No matching distribution found for torch==2.11.0', 'has no torch==2.11.0 for'),
        ('SSLError(SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED"))', 'PIP_CERT'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
        ('note\nnms.cpp:3:1: error: no such type\nmore', 'nms.cpp:3:1: error: no such type'),
    ],
)
def test_common_failures_are_explained(setup_env, log, expected):
    explanation = setup_env.explain(log)
    assert expected in explanation
    assert '\n' not in explanation


def test_progress_is_the_last_count_of_the_compiler(setup_env):
    assert setup_env.progress('  [1/78] c++\n  [41/78] c++\nnote [99/99]') == (
        '41 of 78 files compiled'
    )


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


def test_mmcv_is_compiled_once_for_each_torch_python_and_device(setup_env, cpu, fake_pip):
    assert setup_env.install_mmcv(cpu) is False
    assert setup_env.install_mmcv(cpu) is True
    assert setup_env.install_mmcv(cpu._replace(key='torch2.12.0-cp311-cpu')) is False
    assert sum('-w' in command for command in fake_pip) == 2
    assert setup_env.version_key().startswith(f'torch{setup_env.pinned("torch")}-cp3')


def test_an_interrupted_build_leaves_no_wheel(setup_env, cpu, fake_pip, monkeypatch):
    def interrupt(command, purpose, env=None):
        (Path(command[command.index('-w') + 1]) / 'onedl_mmcv-2.3.6-half.whl').touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_env, 'run', interrupt)
    with pytest.raises(KeyboardInterrupt):
        setup_env.install_mmcv(cpu)
    assert not [file for file in setup_env.cache_folder().rglob('*') if file.is_file()]


def test_a_damaged_wheel_is_compiled_again(setup_env, cpu, fake_pip):
    setup_env.install_mmcv(cpu)
    (wheel,) = setup_env.wheel_folder(cpu).iterdir()
    wheel.write_bytes(wheel.read_bytes()[:-30])
    assert setup_env.install_mmcv(cpu) is False
    assert zipfile.is_zipfile(wheel)


@pytest.mark.parametrize(('device', 'hidden'), [('CPU', ''), ('CUDA', None)])
def test_mmcv_sees_the_gpu_only_when_built_for_it(setup_env, fake_pip, monkeypatch, device, hidden):
    environments = []
    build = setup_env.run
    monkeypatch.setattr(
        setup_env,
        'run',
        lambda command, purpose, env: [environments.append(env), build(command, purpose, env)],
    )
    setup_env.build_mmcv(setup_env.Target('key', device))
    assert environments[0]['MMCV_WITH_OPS'] == '1'
    assert environments[0].get('CUDA_VISIBLE_DEVICES') == hidden


@pytest.mark.parametrize(
    ('gpu', 'nvcc', 'key', 'note'),
    [
        ('', '', 'cpu', ''),
        ('sm90', '13.0', 'cu130-sm90', ''),
        ('sm90', '', 'cpu', 'no CUDA 13.0 compiler'),
        ('sm90', '12.4', 'cpu', 'no CUDA 13.0 compiler'),
    ],
)
def test_operators_are_for_the_gpu_where_they_can_be_compiled(
    setup_env, monkeypatch, gpu, nvcc, key, note
):
    answer = json.dumps(dict(gpu=gpu, cuda='13.0', home=None))
    monkeypatch.setattr(
        setup_env, 'ask_python', lambda code: answer if 'torch' in code else 'cp311'
    )
    monkeypatch.setattr(setup_env, 'nvcc_release', lambda home: nvcc)
    target = setup_env.build_target()
    assert target.key == f'torch{setup_env.pinned("torch")}-cp311-{key}'
    assert note in target.note


def set_up_with_operators(setup_env, monkeypatch, works: list[bool]) -> None:
    """Runs all steps with pip replaced; `works` says whether mmcv runs at each check."""
    monkeypatch.setattr(setup_env, 'check_disk', lambda: None)
    monkeypatch.setattr(setup_env, 'build_target', lambda: setup_env.Target(KEY, 'CPU'))
    monkeypatch.setattr(setup_env, 'check_imports', lambda: None)
    monkeypatch.setattr(setup_env, 'use_headless_opencv', lambda: None)
    monkeypatch.setattr(setup_env, 'operators_run', lambda target: works.pop(0))
    setup_env.set_up()


def test_a_kept_wheel_that_does_not_run_is_compiled_again(setup_env, cpu, fake_pip, monkeypatch):
    setup_env.install_mmcv(cpu)
    set_up_with_operators(setup_env, monkeypatch, [False, True])
    assert sum('-w' in command for command in fake_pip) == 2
    assert setup_env.is_up_to_date()


def test_operators_that_never_run_fail_the_setup(setup_env, fake_pip, monkeypatch):
    line = fail_with(setup_env, set_up_with_operators, setup_env, monkeypatch, [False])
    assert 'operators do not run' in line
    assert str(setup_env.LOG) in line
    assert not setup_env.is_up_to_date()


def test_operator_check_tells_a_working_mmcv_from_one_without_operators(setup_env, cpu, tmp_path):
    pytest.importorskip('mmcv._ext')
    assert setup_env.operators_run(cpu)
    stub = tmp_path / '.venv' / 'mmcv' / 'ops.py'  # ask_python runs there, so this one is found
    stub.parent.mkdir()
    (stub.parent / '__init__.py').touch()
    stub.write_text('raise ImportError("No module named mmcv._ext")\n')
    assert not setup_env.operators_run(cpu)


def test_the_environment_is_out_of_date_when_a_pin_changes(setup_env, monkeypatch, tmp_path):
    pins = tmp_path / 'constraints.txt'
    pins.write_text('torch==2.11.0\n')
    monkeypatch.setattr(setup_env, 'SOURCES', (pins,))
    setup_env.STAMP.write_text(setup_env.fingerprint())
    assert setup_env.is_up_to_date()
    pins.write_text('torch==2.12.0\n')
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
    assert 'no Python 3.10-3.12' in lines[0]

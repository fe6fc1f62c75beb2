"""What the survival tests share: processes to kill, and a look at memory."""

import importlib.util
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest

FORK = multiprocessing.get_context('fork')


@pytest.fixture
def in_child():
    """Runs functions in forked processes; those that are left are killed at the end."""
    children = []

    def start(function, *args):
        child = FORK.Process(target=function, args=args)
        child.start()
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.join()


@pytest.fixture
def memory_of():
    """What a call takes at its peak, in MiB, and the text of its error."""

    def measure(function, *args) -> tuple[float, str]:
        ours, theirs = FORK.Pipe()
        child = FORK.Process(target=_measured, args=(theirs, function, *args))
        child.start()
        found = ours.recv()
        child.join()
        return found

    return measure


def _measured(pipe, function, *args) -> None:
    before, text = _memory('VmRSS'), ''
    Path('/proc/self/clear_refs').write_text('5')  # the peak so far was that of the tests
    try:
        function(*args)
    except Exception as error:
        text = f'{type(error).__name__}: {error}'
    pipe.send((_memory('VmHWM') - before, text))
    os._exit(0)


def _memory(name: str) -> float:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) / 1024
    raise AssertionError(name)


@pytest.fixture
def wait_for():
    """Waits until a condition holds; the test fails where it does not."""

    def wait(condition, seconds: float = 60.0, what: str = ''):
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f'{what or condition} has not come in {seconds} s'
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture
def train_command(tiny_config, tmp_path, project_root):
    """The command line that trains the tiny config with overrides in a work dir."""
    from flsl_mm.config.keywords import KeywordSafeConfig

    def command(work_dir, launcher=(), **overrides) -> list[str]:
        tiny_config.merge_from_dict(overrides)
        path = tmp_path / 'config.py'
        KeywordSafeConfig.wrap(tiny_config).dump(path)
        tool = str(project_root / 'tools/train.py')
        return [sys.executable, *launcher, tool, str(path), f'--work-dir={work_dir}', '--resume']

    return command


@pytest.fixture
def make_shards(project_root):
    """The tool that writes images into tar files."""
    path = project_root / 'tools/dataset_converters/make_shards.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

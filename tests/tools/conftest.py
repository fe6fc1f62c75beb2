"""Fixtures shared by the tests of the tools."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope='session')
def tools_find_each_other(project_root):
    """The tools of ``analysis_tools`` import each other, as where one is run as a program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project_root / 'tools/analysis_tools'))
        yield


@pytest.fixture(scope='session')
def load_tool(project_root, tools_find_each_other) -> Callable[[str], ModuleType]:
    """Imports a tool anew, by its path in ``tools`` without ``.py``."""

    def load(name: str) -> ModuleType:
        path = project_root / f'tools/{name}.py'
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope='session')
def tool_environment(project_root) -> dict[str, str]:
    """Variables under which a process runs the tools of this checkout, from any folder."""
    python_path = os.pathsep.join([str(project_root), os.environ.get('PYTHONPATH', '')])
    return {
        **os.environ,
        'PYTHONPATH': python_path,
        'OMP_NUM_THREADS': '1',
        'PYTHON': sys.executable,
    }


@pytest.fixture(scope='session')
def run_tool(project_root, tool_environment) -> Callable[..., subprocess.CompletedProcess]:
    """Runs a tool, named with its ending, as a user does from any folder but the project's.

    Keywords are further variables of its environment.
    """

    def run(name: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess:
        interpreter = 'bash' if name.endswith('.sh') else sys.executable
        return subprocess.run(
            [interpreter, project_root / 'tools' / name, *arguments],
            env={**tool_environment, **variables},
            cwd=project_root.parent,
            capture_output=True,
            text=True,
        )

    return run

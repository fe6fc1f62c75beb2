"""Builds this project's environment in ``.venv`` and shows that it works.

Needs Python 3.10-3.13 and the package index; uses the standard library only. Nothing is compiled:
where mmcv has no operators of its own, it takes torchvision's. Running it again mends an
environment and costs little.

    python tools/setup_env.py               # what `make setup` runs
    python tools/setup_env.py --if-needed   # does nothing when the environment is up to date
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'setup.log'
STAMP = VENV / '.flsl-setup'
CONSTRAINTS = ROOT / 'constraints.txt'
STAND_IN = ROOT / 'flsl_mm' / 'mmcv_operators.py'
# What the environment is made from: when one of these changes, it is set up anew.
SOURCES = (CONSTRAINTS, ROOT / 'setup.cfg', STAND_IN, Path(__file__).resolve())

OLDEST, TOO_NEW = (3, 10), (3, 14)  # Python
EXTRAS = '.[onedl,timm,tsne,fast-coco,test,dev,docs]'
# A finished environment has 6 GB; pip's download cache and temporary files double it.
DISK_GB, TEMPORARY_GB = 12, 4

# What pip's own error does not tell: a pattern in its log -> what happened and what to do.
KNOWN_FAILURES = {
    r'No space left on device': 'the disk is full: free some space, or set TMPDIR to a larger one',
    r'CERTIFICATE_VERIFY_FAILED|SSLError|ProxyError|NameResolutionError|name resolution|'
    r'Connection refused|new connection|Network is unreachable|[Tt]imeout|timed out|Max retries': (
        'the package index cannot be reached: check the network, or name your proxy, mirror or '
        'certificate (HTTPS_PROXY, PIP_INDEX_URL, PIP_CERT; docs/install.md)'
    ),
}

FIND_MMCV = (
    "from importlib.util import find_spec as f; print(f('mmcv').submodule_search_locations[0])"
)

# Boxes 0 and 1 overlap by more than half: NMS drops one. RoIAlign of a constant is constant.
VERIFY = """
import cv2, mmengine, mmcv, mmpretrain, mmdet.models, mmseg, timm, torch
from mmcv.ops import RoIAlign, nms
for device in ['cpu'] + ['cuda'] * torch.cuda.is_available():
    boxes = torch.tensor([[0., 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([.9, .8, .7], device=device), 0.5)[1]
    assert kept.tolist() == [0, 2], f'NMS kept {kept}'
    rois = torch.tensor([[0., 1, 1, 6, 6]], device=device)
    pooled = RoIAlign(2)(torch.full((1, 1, 8, 8), 3.0, device=device), rois)
    assert pooled.shape == (1, 1, 2, 2) and (pooled - 3).abs().max() < 1e-5, f'RoIAlign: {pooled}'
from flsl_mm.mmcv_operators import operators_in_use
print(operators_in_use())
"""


class SetupError(Exception):
    """A failure told in one line: what happened and what to do."""


def main() -> int:
    """Sets up the environment; returns the exit status."""
    parser = argparse.ArgumentParser(description='Builds the environment in .venv.')
    parser.add_argument(
        '--if-needed', action='store_true', help='do nothing when the environment is up to date'
    )
    args = parser.parse_args()
    try:
        if not (args.if_needed and is_up_to_date()):
            set_up()
    except (SetupError, OSError) as error:
        print(f'setup failed: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('setup interrupted: run it again to go on', file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Runs every step in order; raises :class:`SetupError` where one fails."""
    start = time.monotonic()
    check_machine(sys.platform, sys.version_info)
    STAMP.unlink(missing_ok=True)
    with step(1, f'virtual environment in {VENV.name}'):
        create_venv()
        pip_install('pip')
    with step(2, 'PyTorch, OpenMMLab, tests, this package (3 GB to download)'):
        # At once, so that versions are chosen once. Python compiles what it imports when it does.
        options = ['--no-compile', '--build-constraint', CONSTRAINTS]
        pip_install('torch', 'torchvision', '--editable', EXTRAS, *options)
        # mmcv asks for opencv-python, which needs libGL and fills the same folder: this one wins.
        pip_install('opencv-python-headless', '--no-deps', '--force-reinstall', '--no-compile')
        add_operators()
    with step(3, 'verifying'):
        operators = verify()
    STAMP.write_text(fingerprint() + '\n')
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f'Ready in {minutes} min {seconds:02d} s. Operators of mmcv: {operators}.')


@contextmanager
def step(number: int, title: str) -> Iterator[None]:
    """Announces a step, then says how long it took."""
    start = time.monotonic()
    print(f'[{number}/3] {title}', flush=True)
    yield
    print(f'      {time.monotonic() - start:.0f} s', flush=True)


def check_machine(platform: str, version: tuple) -> None:
    """Refuses what the stack has no builds for, and a download that will not fit.

    Raises:
        SetupError: Another system, another Python, or too little space for a new environment.
    """
    if platform != 'linux':
        raise SetupError(f'{platform} is not supported: use Linux (on Windows, inside WSL 2)')
    if not OLDEST <= tuple(version) < TOO_NEW:
        raise SetupError(
            f'Python {version[0]}.{version[1]} is not supported: install Python 3.10-3.13 and '
            'run `make setup PYTHON=/path/to/python3.11`'
        )
    if any(VENV.glob('lib/python*/site-packages/torch')):
        return  # to be mended: little is missing
    for folder, need in ((ROOT, DISK_GB), (Path(tempfile.gettempdir()), TEMPORARY_GB)):
        free = shutil.disk_usage(folder).free / 2**30
        if free < need:
            raise SetupError(
                f'{folder} has {free:.1f} GB free, {need} GB are needed: free some space'
                f'{"" if folder == ROOT else ", or set TMPDIR to a larger disk"}'
            )


def is_up_to_date() -> bool:
    """Whether a set-up was finished with the files as they are now."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text().strip() == fingerprint()


def fingerprint() -> str:
    """Hash of everything the environment is made from."""
    return hashlib.sha256(b'\0'.join(path.read_bytes() for path in SOURCES)).hexdigest()


def create_venv() -> None:
    """Makes the virtual environment; keeps one that works."""
    if PYTHON.exists():
        try:
            ask_python(f'import pip, sys; assert {OLDEST} <= sys.version_info < {TOO_NEW}')
            print('      kept (remove it to change its Python)')
            return
        except (SetupError, OSError):
            print('      the one that is there does not work: made anew')
    python = sys._base_executable  # not that of an activated environment, maybe this very one
    result = subprocess.run(
        [python, '-m', 'venv', '--clear', str(VENV)], capture_output=True, text=True
    )
    if result.returncode:
        said = (result.stdout + result.stderr).strip().splitlines() or ['it does not say why']
        raise SetupError(
            f'{python} cannot make a virtual environment (Debian, Ubuntu: apt install '
            f'python3-venv): {said[-1]}'
        )


def pip_install(*arguments: str | Path) -> None:
    """Installs packages into the environment, at the versions in ``constraints.txt``."""
    command = [PYTHON, '-m', 'pip', 'install', '--constraint', CONSTRAINTS, *arguments]
    command = list(map(str, command))
    with LOG.open('a+', errors='replace') as log:
        print(f'\n$ {" ".join(command)}', file=log, flush=True)
        begin = log.tell()
        streams = dict(stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), **streams)
        status = wait_for(process)
        log.seek(begin)
        if status:
            raise SetupError(f'installing {arguments[0]}: {explain(log.read())}; log: {LOG}')


def wait_for(process: subprocess.Popen) -> int:
    """The exit status of a process, with a sign of life every minute."""
    try:
        for minutes in itertools.count(1):
            try:
                return process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                print(f'      {minutes} min so far', flush=True)
    finally:
        process.kill()


def explain(log: str) -> str:
    """One line on why pip failed."""
    for pattern, remedy in KNOWN_FAILURES.items():
        if re.search(pattern, log):
            return remedy
    errors = re.findall(r'^.*\berror:.*$', log, re.IGNORECASE | re.MULTILINE)
    return errors[0].strip()[:200] if errors else 'pip failed'


def add_operators() -> None:
    """Puts torchvision's NMS and RoIAlign where mmcv looks for its own, before flsl_mm is imported.

    A compiled extension in that folder is found first.
    """
    shutil.copyfile(STAND_IN, Path(ask_python(FIND_MMCV)) / '_ext.py')


def verify() -> str:
    """Where mmcv's operators come from, in words; all packages can be imported then."""
    try:
        return ask_python(VERIFY)
    except SetupError as error:
        raise SetupError(
            f'the environment does not work ({error}): remove {VENV} and run `make setup` again'
        ) from None


def ask_python(code: str) -> str:
    """Last line that a program run by the environment's Python prints; libraries print, too.

    Raises:
        SetupError: It failed; the last line of what it said.
    """
    command = [str(PYTHON), '-W', 'ignore', '-c', code]
    options = dict(env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True)
    result = subprocess.run(command, cwd=VENV, text=True, **options)
    if result.returncode:
        with LOG.open('a') as log:
            log.write(result.stderr)
        raise SetupError((result.stderr.strip().splitlines() or ['no output'])[-1])
    return (result.stdout.strip().splitlines() or [''])[-1]


def clean_environment() -> dict[str, str]:
    """The user's variables less those that lead out of the environment."""
    foreign = ('PYTHONPATH', 'PYTHONHOME', 'PIP_USER', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_CONSTRAINT')
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, 'PYTHONNOUSERSITE': '1', 'PIP_NO_INPUT': '1'}


if __name__ == '__main__':
    sys.exit(main())

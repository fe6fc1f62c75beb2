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
import json
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

SUPPORTED = ((3, 10), (3, 14))  # from, below
EXTRAS = '.[onedl,timm,tsne,test,dev,docs]'
MODULES = ('cv2', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'timm')
# A finished environment has 6 GB; pip's download cache and temporary files double it.
DISK_GB = 12
DOWNLOAD_GB = 4
MEND_GB = 2

# Pattern in the log of a failed command -> what happened and what to do about it. First match wins.
KNOWN_FAILURES = (
    (
        r'No space left on device|Errno 28',
        'the disk is full: free some space (or point TMPDIR to a larger disk)',
    ),
    (
        r'CERTIFICATE_VERIFY_FAILED|SSLError',
        'the certificate of the package index is not trusted: set PIP_CERT to your own',
    ),
    (
        r'NameResolutionError|Temporary failure in name resolution|Failed to establish a new '
        r'connection|ProxyError|Network is unreachable|Connection refused|ConnectTimeout'
        r'|ReadTimeout|Read timed out|Max retries exceeded',
        'the package index cannot be reached: check the network, or name your proxy or mirror '
        '(HTTPS_PROXY, PIP_INDEX_URL; docs/install.md)',
    ),
    (
        r'No matching distribution found for (?P<what>\S+)',
        'the package index has no {what} for this machine: use Linux x86-64 with glibc 2.28 or '
        'newer, or a complete mirror (PIP_INDEX_URL)',
    ),
    (
        r'ResolutionImpossible|conflicting dependencies',
        'versions in constraints.txt and setup.cfg contradict each other: restore the two files',
    ),
)


class SetupError(Exception):
    """A failure told in one line: what happened and what to do."""


def main() -> int:
    """Sets up the environment; returns the exit status."""
    parser = argparse.ArgumentParser(description='Builds the environment in .venv.')
    parser.add_argument(
        '--if-needed',
        action='store_true',
        help='do nothing when the environment is up to date',
    )
    args = parser.parse_args()
    if args.if_needed and is_up_to_date():
        return 0
    try:
        set_up()
    except (SetupError, OSError) as error:
        print(f'setup failed: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('setup interrupted: run it again to go on', file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Runs every step in order.

    Raises:
        SetupError: A step failed.
    """
    start = time.monotonic()
    with step(1, 'checking Python and disk space'):
        check_machine(sys.platform, sys.version_info)
        check_disk()
    STAMP.unlink(missing_ok=True)
    with step(2, f'virtual environment in {VENV.name}'):
        create_venv()
        pip_install('pip')
    with step(3, f'PyTorch {pinned("torch")}, OpenMMLab, tests, this package (3 GB to download)'):
        # At once, so that versions are chosen once. Python compiles what it imports when it does.
        options = ['--no-compile', '--build-constraint', CONSTRAINTS]
        pip_install('torch', 'torchvision', '--editable', EXTRAS, options=options)
        use_headless_opencv()
        add_operators()
    with step(4, 'verifying'):
        check_imports()
        operators = operators_in_use()
    STAMP.write_text(fingerprint() + '\n')
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    print(f'Ready in {minutes} min {seconds:02d} s. Operators of mmcv: {operators}.')


@contextmanager
def step(number: int, title: str) -> Iterator[None]:
    """Announces a step, then says how long it took."""
    start = time.monotonic()
    print(f'[{number}/4] {title}', flush=True)
    yield
    print(f'      {time.monotonic() - start:.0f} s', flush=True)


# ---- What is there ---------------------------------------------------------------------------


def check_machine(platform: str, version: tuple) -> None:
    """Refuses a system or a Python that the stack has no builds for.

    Args:
        platform: ``sys.platform``.
        version: ``sys.version_info``.

    Raises:
        SetupError: It is not Linux or the Python is outside 3.10-3.13.
    """
    if platform != 'linux':
        raise SetupError(f'{platform} is not supported: use Linux (on Windows, inside WSL 2)')
    if not is_supported(version):
        raise SetupError(
            f'Python {version[0]}.{version[1]} is not supported: install Python 3.10-3.13 and '
            'run `make setup PYTHON=/path/to/python3.11`'
        )


def is_supported(version: tuple) -> bool:
    """Whether the stack has builds for a Python version ``(major, minor, ...)``."""
    return SUPPORTED[0] <= tuple(version[:2]) < SUPPORTED[1]


def check_disk() -> None:
    """Refuses to start a download that will not fit.

    Raises:
        SetupError: Too little space for the environment or for pip's temporary files.
    """
    mending = any(VENV.glob('lib/python*/site-packages/torch'))
    venv_gb, temporary_gb = (MEND_GB, MEND_GB) if mending else (DISK_GB, DOWNLOAD_GB)
    for folder, need, hint in (
        (ROOT, venv_gb, 'free some space'),
        (Path(tempfile.gettempdir()), temporary_gb, 'free some space or set TMPDIR'),
    ):
        free = shutil.disk_usage(folder).free / 2**30
        if free < need:
            raise SetupError(f'{folder} has {free:.1f} GB free, {need} GB are needed: {hint}')


def is_up_to_date() -> bool:
    """Whether a set-up was finished with the files as they are now."""
    try:
        return PYTHON.exists() and STAMP.read_text().strip() == fingerprint()
    except OSError:
        return False


def fingerprint() -> str:
    """Hash of everything the environment is made from."""
    return hashlib.sha256(b'\0'.join(path.read_bytes() for path in SOURCES)).hexdigest()


def pinned(package: str) -> str:
    """The version of a package in ``constraints.txt``.

    Raises:
        SetupError: It names none.
    """
    match = re.search(rf'^{re.escape(package)}==([^\s;]+)', CONSTRAINTS.read_text(), re.MULTILINE)
    if match is None:
        raise SetupError(f'constraints.txt names no version of {package}: restore that file')
    return match[1]


# ---- Steps -----------------------------------------------------------------------------------


def create_venv() -> None:
    """Makes the virtual environment; keeps one that works.

    Raises:
        SetupError: This Python cannot make one.
    """
    if PYTHON.exists():
        try:
            version = json.loads(ask_python('import sys, pip; print(list(sys.version_info[:2]))'))
        except (SetupError, OSError):
            version = (0, 0)
        if is_supported(version):
            print(f'      kept (Python {version[0]}.{version[1]}; remove it to change that)')
            return
        print('      the one that is there does not work: made anew')
    VENV.mkdir(exist_ok=True)
    python = sys._base_executable  # not that of an activated environment, maybe this very one
    result = subprocess.run(
        [python, '-m', 'venv', '--clear', str(VENV)], capture_output=True, text=True
    )
    LOG.write_text(result.stdout + result.stderr)
    if result.returncode:
        raise SetupError(
            f'{python} cannot make a virtual environment (Debian, Ubuntu: apt install '
            f'python3-venv); log: {LOG}'
        )


def use_headless_opencv() -> None:
    """Makes the installed ``cv2`` the one that needs no libGL.

    mmcv and imaug ask for ``opencv-python``, which fills the same folder as the headless build:
    both go, then the headless one comes back.
    """
    installed = ask_python(
        'from importlib.metadata import distributions\n'
        'print(*{(d.metadata["Name"] or "").lower() for d in distributions()})'
    ).split()
    variants = sorted(name for name in installed if name.startswith('opencv-'))
    if variants != ['opencv-python-headless']:
        run([PYTHON, '-m', 'pip', 'uninstall', '--yes', *variants], 'removing OpenCV')
        pip_install('opencv-python-headless', options=['--no-deps'])


def check_imports() -> None:
    """Imports every package once.

    Raises:
        SetupError: One cannot be imported.
    """
    try:
        ask_python(f'MODULES = {MODULES}\n' + IMPORT_ALL)
    except SetupError as error:
        raise SetupError(f'{error}: remove {VENV} and run `make setup` again') from None


# In one process: each one would load torch anew.
IMPORT_ALL = """
from importlib import import_module
for module in MODULES:
    try:
        import_module(module)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1]
        raise SystemExit(f'{module} was installed but cannot be imported ({reason})')
"""


def add_operators() -> None:
    """Puts torchvision's NMS and RoIAlign where mmcv looks for its own, before flsl_mm is imported.

    A compiled extension in that folder is found first.
    """
    shutil.copyfile(STAND_IN, Path(ask_python(MMCV_FOLDER)) / '_ext.py')


MMCV_FOLDER = """
import importlib.util
print(importlib.util.find_spec('mmcv').submodule_search_locations[0])
"""


def operators_in_use() -> str:
    """Where mmcv's operators come from, in words; detectors do not run without them.

    Raises:
        SetupError: They do not run, or compute something else.
    """
    try:
        return ask_python(OPERATOR_CHECK)
    except SetupError as error:
        raise SetupError(
            f"mmcv's operators do not run ({error}): remove {VENV} and run `make setup` again"
        ) from None


# Boxes 0 and 1 overlap by more than half: NMS drops one. RoIAlign of a constant is constant.
OPERATOR_CHECK = """
import torch
from mmcv.ops import RoIAlign, nms
for device in ['cpu'] + ['cuda'] * torch.cuda.is_available():
    boxes = torch.tensor([[0., 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([.9, .8, .7], device=device), 0.5)[1]
    assert kept.tolist() == [0, 2], kept
    features = torch.full((1, 1, 8, 8), 3.0, device=device)
    rois = torch.tensor([[0., 1, 1, 6, 6]], device=device)
    pooled = RoIAlign(2)(features, rois)
    assert pooled.shape == (1, 1, 2, 2) and torch.allclose(pooled, torch.tensor(3.0, device=device))
from flsl_mm.mmcv_operators import operators_in_use
print(operators_in_use())
"""


# ---- Running things --------------------------------------------------------------------------


def pip_install(*packages: str, options: list = ()) -> None:
    """Installs packages into the environment, at the versions in ``constraints.txt``."""
    command = ['install', '--constraint', CONSTRAINTS, *options, *packages]
    run([PYTHON, '-m', 'pip', *command], f'installing {" ".join(packages)}')


def run(command: list, purpose: str) -> None:
    """Runs a command into the log, with a sign of life every minute.

    Args:
        command: Program and arguments.
        purpose: What it is for, in the error.

    Raises:
        SetupError: It failed; what the log shows of the reason, and where the log is.
    """
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open('ab') as sink:
        sink.write(f'\n$ {" ".join(map(str, command))}\n'.encode())
        sink.flush()
        begin, start = sink.tell(), time.monotonic()
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=60)
                    break
                except subprocess.TimeoutExpired:
                    minutes = (time.monotonic() - start) / 60
                    print(f'      {minutes:.0f} min so far', flush=True)
        finally:
            process.kill()
    if status:
        raise SetupError(f'{purpose}: {explain(read_log(begin))}; log: {LOG}')


def read_log(begin: int) -> str:
    """The log from a byte position on."""
    with LOG.open('rb') as log:
        log.seek(begin)
        return log.read().decode(errors='replace')


def explain(log: str) -> str:
    """One line on why a command failed."""
    for pattern, remedy in KNOWN_FAILURES:
        match = re.search(pattern, log)
        if match:
            return remedy.format(**match.groupdict())
    errors = re.findall(r'^.*\berror:.*$', log, re.IGNORECASE | re.MULTILINE)
    return errors[0].strip()[:200] if errors else 'the command failed'


def ask_python(code: str) -> str:
    """Output of a program run by the environment's Python.

    Raises:
        SetupError: It failed; the last line of what it said.
    """
    result = subprocess.run(
        [str(PYTHON), '-W', 'ignore', '-c', code],
        cwd=VENV,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        with LOG.open('a') as sink:
            sink.write(result.stderr)
        raise SetupError((result.stderr.strip().splitlines() or ['no output'])[-1])
    return result.stdout.strip()


def clean_environment() -> dict[str, str]:
    """The user's variables less those that lead out of the environment."""
    foreign = ('PYTHONPATH', 'PYTHONHOME', 'PIP_USER', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_CONSTRAINT')
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, 'PYTHONNOUSERSITE': '1', 'PIP_NO_INPUT': '1'}


if __name__ == '__main__':
    sys.exit(main())

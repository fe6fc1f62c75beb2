"""Builds this project's environment in ``.venv`` and shows that it works.

Needs Python 3.10-3.12, a C++ compiler and the package index; uses the standard library only. The
compiled mmcv wheel is kept in the user's cache folder, so a second set-up takes minutes. Running it
again mends an environment and costs little.

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
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
LOG = VENV / 'setup.log'
STAMP = VENV / '.flsl-setup'
CONSTRAINTS = ROOT / 'constraints.txt'
# What the environment is made from: when one of these changes, it is set up anew.
SOURCES = (CONSTRAINTS, ROOT / 'setup.cfg', Path(__file__).resolve())

SUPPORTED = ((3, 10), (3, 13))  # from, below
EXTRAS = '.[onedl,timm,tsne,test,dev,docs]'
MODULES = ('cv2', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'timm')
# A finished environment has 6 GB; pip's download cache and temporary files double it.
DISK_GB = 12
DOWNLOAD_GB = 4
MEND_GB = 2
# A compiler process on one mmcv source needs about this much; nvcc twice as much.
GB_PER_JOB = 2

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
        r'Killed signal terminated program|fatal error: Killed|signal 9|MemoryError',
        'not enough memory to compile: run it again with MAX_JOBS=1',
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
    with step(3, 'build tools'):
        pip_install('pip')
        pip_install('setuptools', 'wheel', 'ninja', 'psutil')
    with step(4, 'C++ compiler'):
        if any(cache_folder().glob(f'{version_key()}-*/{wheel_pattern()}')):
            print('      not needed: a compiled mmcv was kept', flush=True)
        else:
            check_compiler()
    with step(5, f'PyTorch {pinned("torch")} (3 GB to download the first time)'):
        pip_install('torch', 'torchvision')
    target = build_target()
    with step(6, f'mmcv {pinned("onedl-mmcv")}, {target.device} operators'):
        reused = install_mmcv(target)
    with step(7, 'OpenMMLab packages, timm, tests, and this package'):
        pip_install(EXTRAS, options=['--build-constraint', CONSTRAINTS, '--editable'])
        use_headless_opencv()
    with step(8, 'verifying'):
        check_imports()
        check_operators(target, reused)
    STAMP.write_text(fingerprint() + '\n')
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    built = f'mmcv {pinned("onedl-mmcv")}, {target.device} operators'
    print(f'Ready in {minutes} min {seconds:02d} s: {built}. {target.note}'.rstrip())


@contextmanager
def step(number: int, title: str) -> Iterator[None]:
    """Announces a step, then says how long it took."""
    start = time.monotonic()
    print(f'[{number}/8] {title}', flush=True)
    yield
    print(f'      {time.monotonic() - start:.0f} s', flush=True)


# ---- What is there ---------------------------------------------------------------------------


def check_machine(platform: str, version: tuple) -> None:
    """Refuses a system or a Python that the stack has no builds for.

    Args:
        platform: ``sys.platform``.
        version: ``sys.version_info``.

    Raises:
        SetupError: It is not Linux or the Python is outside 3.10-3.12.
    """
    if platform != 'linux':
        raise SetupError(f'{platform} is not supported: use Linux (on Windows, inside WSL 2)')
    if not is_supported(version):
        raise SetupError(
            f'Python {version[0]}.{version[1]} is not supported: install Python 3.10-3.12 and '
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


def check_compiler() -> None:
    """Refuses to go on where mmcv cannot be compiled.

    Raises:
        SetupError: There is no working C++17 compiler, or Python's headers are missing.
    """
    compiler = os.environ.get('CXX', 'c++').split()
    if shutil.which(compiler[0]) is None:
        raise SetupError(
            f'no C++ compiler ({compiler[0]} is not on PATH): install one '
            '(Debian, Ubuntu: apt install g++ python3-dev) or set CXX'
        )
    include = ask_python('import sysconfig; print(sysconfig.get_path("include"))')
    command = [*compiler, '-std=c++17', f'-I{include}', '-x', 'c++', '-fsyntax-only', '-']
    for header, remedy in (
        ('vector', 'install GCC 9 or newer with its C++ library, or set CXX'),
        ('Python.h', "install this Python's headers (Debian, Ubuntu: apt install python3-dev)"),
    ):
        source = f'#include <{header}>\n'.encode()
        if subprocess.run(command, input=source, capture_output=True).returncode:
            raise SetupError(f'{compiler[0]} cannot compile C++17 with <{header}>: {remedy}')


class Target(NamedTuple):
    """What mmcv is compiled for."""

    key: str
    """Name of the wheel's folder in the cache."""
    device: str
    """``CPU`` or ``CUDA``."""
    note: str = ''
    """What the user should know about the choice."""


def build_target() -> Target:
    """Chooses the GPU where one is there and the compiler for it too."""
    torch = json.loads(ask_python(DESCRIBE_TORCH))
    if torch['gpu'] and nvcc_release(torch['home']).split('.')[0] == torch['cuda'].split('.')[0]:
        return Target(f'{version_key()}-cu{torch["cuda"].replace(".", "")}-{torch["gpu"]}', 'CUDA')
    note = (
        f'A GPU is here but no CUDA {torch["cuda"]} compiler (nvcc): pretraining runs on the GPU, '
        'detectors cannot; install that toolkit, set CUDA_HOME and run `make setup` again.'
    )
    return Target(f'{version_key()}-cpu', 'CPU', note if torch['gpu'] else '')


# The name of the GPU's architecture such as sm90, empty without one; torch's CUDA; the toolkit.
DESCRIBE_TORCH = """
import json, torch
from torch.utils.cpp_extension import CUDA_HOME
gpu = 'sm%d%d' % torch.cuda.get_device_capability() if torch.cuda.is_available() else ''
print(json.dumps(dict(gpu=gpu, cuda=torch.version.cuda, home=CUDA_HOME)))
"""


def nvcc_release(cuda_home: str | None) -> str:
    """The release of the CUDA compiler such as ``13.0``; empty where there is none."""
    nvcc = shutil.which('nvcc', path=f'{cuda_home}/bin')
    if nvcc is None:
        return ''
    output = subprocess.run([nvcc, '--version'], capture_output=True, text=True).stdout
    match = re.search(r'release (\d+\.\d+)', output)
    return match[1] if match else ''


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


def install_mmcv(target: Target) -> bool:
    """Installs the mmcv wheel for the target, compiling it where none was kept.

    Returns:
        Whether a kept wheel was used.

    Raises:
        SetupError: The build failed.
    """
    folder = wheel_folder(target)
    reused = any(map(zipfile.is_zipfile, folder.glob(wheel_pattern())))
    if not reused:
        build_mmcv(target)
    wheel = next(folder.glob(wheel_pattern()))
    # Reinstalled because the same version compiled for another torch may be there.
    run(
        [PYTHON, '-m', 'pip', 'install', '--no-deps', '--force-reinstall', wheel], 'installing mmcv'
    )
    return reused


def build_mmcv(target: Target) -> None:
    """Compiles mmcv with its operators into the cache folder, whole or not at all.

    Raises:
        SetupError: There is no compiler, or the build failed.
    """
    check_compiler()
    folder = wheel_folder(target)
    jobs = os.environ.get('MAX_JOBS') or str(compile_jobs(target.device == 'CUDA'))
    print(f'      compiling, {jobs} at a time: 10 minutes on 2 cores (CUDA: longer)', flush=True)
    env = dict(MMCV_WITH_OPS='1', MAX_JOBS=jobs)
    if target.device == 'CPU':
        env.update(CUDA_VISIBLE_DEVICES='', FORCE_CUDA='0')  # the build takes any GPU it sees
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix='.building-') as building:
        command = ['wheel', '--no-build-isolation', '--no-deps', '--no-cache-dir', '--verbose']
        run(
            [PYTHON, '-m', 'pip', *command, '-w', building, f'onedl-mmcv=={pinned("onedl-mmcv")}'],
            'compiling mmcv',
            env,
        )
        folder.mkdir(exist_ok=True)
        wheel = next(Path(building).glob(wheel_pattern()))
        os.replace(wheel, folder / wheel.name)


def compile_jobs(cuda: bool) -> int:
    """How many compiler processes the processors and the free memory allow."""
    processors = len(os.sched_getaffinity(0))
    match = re.search(r'MemAvailable:\s*(\d+) kB', Path('/proc/meminfo').read_text())
    memory_gb = int(match[1]) / 2**20 if match else GB_PER_JOB
    return max(1, min(processors, int(memory_gb / (GB_PER_JOB * (2 if cuda else 1)))))


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
    for module in MODULES:
        try:
            ask_python(f'import {module}')
        except SetupError as error:
            raise SetupError(
                f'{module} was installed but cannot be imported ({error}): remove {VENV} and run '
                '`make setup` again'
            ) from None


def check_operators(target: Target, reused: bool) -> None:
    """Checks that mmcv's operators run; a kept wheel that does not is compiled again, once.

    Args:
        target: What mmcv was compiled for.
        reused: Whether the wheel was a kept one.

    Raises:
        SetupError: They do not run.
    """
    if operators_run(target):
        return
    if reused:
        print('      the kept mmcv wheel does not run here: compiling it again', flush=True)
        shutil.rmtree(wheel_folder(target))
        install_mmcv(target)
        if operators_run(target):
            return
    raise SetupError(
        f'mmcv was compiled but its operators do not run: see the end of {LOG}, remove '
        f'{wheel_folder(target)} and run `make setup` again'
    )


def operators_run(target: Target) -> bool:
    """Whether mmcv's operators compute the right numbers, on the GPU too if built for it."""
    try:
        ask_python(f'DEVICES = {["cpu"] + ["cuda"] * (target.device == "CUDA")}\n' + OPERATOR_CHECK)
    except SetupError:
        return False
    return True


# Boxes 0 and 1 overlap by more than half: NMS drops one. RoIAlign of a constant is constant.
OPERATOR_CHECK = """
import torch
from mmcv.ops import RoIAlign, nms
for device in DEVICES:
    boxes = torch.tensor([[0., 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
    kept = nms(boxes, torch.tensor([.9, .8, .7], device=device), 0.5)[1]
    assert kept.tolist() == [0, 2], kept
    features = torch.full((1, 1, 8, 8), 3.0, device=device)
    rois = torch.tensor([[0., 1, 1, 6, 6]], device=device)
    pooled = RoIAlign(2)(features, rois)
    assert pooled.shape == (1, 1, 2, 2) and torch.allclose(pooled, torch.tensor(3.0, device=device))
"""


# ---- Where mmcv is kept ----------------------------------------------------------------------


def cache_folder() -> Path:
    """The folder that outlives the environment."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'flsl_mm' / 'wheels'


def version_key() -> str:
    """What a compiled mmcv depends on besides the device: torch and Python."""
    return f'torch{pinned("torch")}-{ask_python(PRINT_TAG)}'


PRINT_TAG = 'import sys; print("cp%d%d" % sys.version_info[:2])'


def wheel_folder(target: Target) -> Path:
    """Where the wheel for a target is kept."""
    return cache_folder() / target.key


def wheel_pattern() -> str:
    """File name of the wheel."""
    return f'onedl_mmcv-{pinned("onedl-mmcv")}-*.whl'


# ---- Running things --------------------------------------------------------------------------


def pip_install(*packages: str, options: list = ()) -> None:
    """Installs packages into the environment, at the versions in ``constraints.txt``."""
    command = ['install', '--constraint', CONSTRAINTS, *options, *packages]
    run([PYTHON, '-m', 'pip', *command], f'installing {" ".join(packages)}')


def run(command: list, purpose: str, env: dict[str, str] | None = None) -> None:
    """Runs a command into the log, with a sign of life every minute.

    Args:
        command: Program and arguments.
        purpose: What it is for, in the error.
        env: Variables beside the user's.

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
            env={**clean_environment(), **(env or {})},
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
                    print(f'      {minutes:.0f} min {progress(read_log(begin))}', flush=True)
        finally:
            process.kill()
    if status:
        raise SetupError(f'{purpose}: {explain(read_log(begin))}; log: {LOG}')


def read_log(begin: int) -> str:
    """The log from a byte position on."""
    with LOG.open('rb') as log:
        log.seek(begin)
        return log.read().decode(errors='replace')


def progress(log: str) -> str:
    """The last count that the compiler's driver printed, such as ``41 of 78 files compiled``."""
    counts = re.findall(r'^\s*\[(\d+)/(\d+)\]', log, re.MULTILINE)
    return '{} of {} files compiled'.format(*counts[-1]) if counts else 'so far'


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

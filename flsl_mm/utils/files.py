"""Files that are written whole or not at all, and that are read without believing them."""

import errno
import json
import math
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import DataError

MAX_GROWTH = 4  # how many times its size a file may take in memory,
FREE_BYTES = 64 << 20  # beyond so much, which any file may


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Fill a file beside ``path``, flush it to disk and rename it over ``path``.

    Whoever reads ``path``, also after ``kill -9`` or on a full disk, finds the old content or the
    new. Only being killed leaves the hidden draft behind.

    Args:
        path: Destination; its folder is made.

    Yields:
        Path: The draft to write; removed when the block raises.

    Raises:
        OSError: It cannot be written; names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = None
    try:
        draft, mode = _new_draft(path)
        yield draft
        with draft.open('rb+') as file:
            os.fsync(file.fileno())
            if os.fstat(file.fileno()).st_mode != mode:  # a library's own file took its place
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
        os.replace(draft, path)
    except OSError as error:
        if error.errno and error.filename is None:  # as where the disk is full
            error.filename = str(path)
        raise
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Let a block fill a new folder, which takes the place of ``path`` when it ends.

    Yields:
        Path: The folder to fill, beside it; removed when the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_name(path)
    draft.mkdir()
    try:
        yield draft
        shutil.rmtree(path, ignore_errors=True)
        os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_writable(path: str | os.PathLike) -> None:
    """Find out, before hours of work, whether a file can be written; its folder is made.

    Raises:
        OSError: It cannot.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(None, 'it is a folder')
        path.parent.mkdir(parents=True, exist_ok=True)
        _new_draft(path)[0].unlink()
    except OSError as error:
        raise OSError(f'{path} cannot be written: {error.strerror}') from error


def _new_draft(path: Path) -> tuple[Path, int]:
    """A new hidden file beside ``path``, and its mode; no file or link that is there is opened."""
    draft = _draft_name(path)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return draft, os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


def _draft_name(path: Path) -> Path:
    return path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a file to read; a pipe or a device, which would wait or never end, is refused.

    Raises:
        OSError: It cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, 'is no regular file', os.fspath(path))
    return open(descriptor, 'rb')


def read_regular(path: str | os.PathLike) -> bytes:
    """The content of a file, as :func:`open_regular` opens it."""
    with open_regular(path) as file:
        return file.read()


def check_growth(taken: int, size: int) -> None:
    """Refuse what would take far more memory than the file that it comes from.

    Args:
        taken: Bytes in memory.
        size: Bytes of the file.

    Raises:
        DataError: It is more than four times as much, beyond 64 MiB.
    """
    if taken > MAX_GROWTH * size + FREE_BYTES:
        raise DataError(
            f'would take {taken / 2**20:,.0f} MiB of memory, and the file has '
            f'{size / 2**20:,.1f} MiB: not read'
        )


def check_unpacked(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse a zip of ``size`` bytes that unpacks to far more.

    Raises:
        DataError: See :func:`check_growth`.
    """
    check_growth(sum(entry.file_size for entry in archive.infolist()), size)


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file.

    Raises:
        DataError: There is no such file, or it is damaged, foreign or a bomb.
    """
    try:
        with open_regular(path) as file:
            with zipfile.ZipFile(file) as archive:
                check_unpacked(archive, os.fstat(file.fileno()).st_size)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # numpy, zipfile and zlib raise about anything on broken files
        raise DataError(f'{path}: {first_line(error)}') from error


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """The dict in a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It is damaged, or holds no dict.
    """
    try:
        content = json.loads(read_regular(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f'{path}: damaged, no JSON ({first_line(error)})') from error
    if not isinstance(content, dict):
        raise DataError(f'{path}: damaged, holds a {type(content).__name__}, not a dict')
    return content


def first_line(error: Exception) -> str:
    """What an error says, in at most 200 letters of one line; its type where it says nothing."""
    return str(error).strip().split('\n')[0].strip()[:200] or type(error).__name__


def printable(text: str) -> str:
    r"""A text, such as a name that is not UTF-8, with ``\udcff`` for what cannot be printed."""
    return text.encode('utf-8', 'backslashreplace').decode()


def short_path(path: str | os.PathLike) -> str:
    """A path as seen from the present folder, where it is below it."""
    path, here = Path(path).resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def file_stamp(path: str | os.PathLike | None) -> str | None:
    """Size and time of change of a file, as text; None where there is no such file."""
    try:
        status = os.stat(path) if path is not None else None
    except OSError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    return f'{status.st_size} bytes, {status.st_mtime_ns}'


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write a JSON file whole or not at all; folders are made, NaN and infinity become null.

    Args:
        path: The file.
        content: Of dicts, lists, strings and numbers.
    """
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + '\n'
    with whole_file(path) as draft:
        draft.write_text(text, encoding='utf-8')


def _finite(value: Any) -> Any:
    """The same with null, which JSON has, in place of nan and infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

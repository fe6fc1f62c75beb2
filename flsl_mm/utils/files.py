"""Files that are written whole or not at all, and what tells whether one has changed."""

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    draft = _draft_of(path)
    try:
        yield draft
        with draft.open('rb+') as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        if error.errno and error.filename is None:  # as where the disk is full
            error.filename = str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)


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
        draft = _draft_of(path)
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise OSError(f'{path} cannot be written: {error.strerror}') from error


def _draft_of(path: Path) -> Path:
    """A hidden file of this process beside ``path``."""
    return path.with_name(f'.{path.name}.{os.getpid()}.tmp')


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

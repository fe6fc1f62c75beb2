"""What tells whether a file is still the one that was read before."""

import os
import stat


def file_stamp(path: str | os.PathLike | None) -> str | None:
    """Size and time of change of a file, as text; None where there is no such file."""
    try:
        status = os.stat(path) if path is not None else None
    except OSError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    return f'{status.st_size} bytes, {status.st_mtime_ns}'

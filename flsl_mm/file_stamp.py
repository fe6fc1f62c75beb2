"""What tells whether a file is still the one that was read before."""

import os


def file_stamp(path: str | os.PathLike | None) -> str | None:
    """Size and time of change of a file, as text; None where there is no such file."""
    if path is None or not os.path.isfile(path):
        return None
    status = os.stat(path)
    return f'{status.st_size} bytes, {status.st_mtime_ns}'

"""What libraries say while a command starts: kept for the log file, not shown."""

import sys
import warnings
from typing import Any, TextIO

_kept: list[str] = []
_before: tuple[TextIO, Any] | None = None


class _Keeper:
    """Stands in for ``sys.stdout``; keeps the lines that are written to it."""

    encoding, errors = 'utf-8', 'backslashreplace'

    def write(self, text: str) -> int:
        """Keep the lines of a text."""
        _kept.extend(line for line in text.splitlines() if line.strip())
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False


def keep_library_remarks() -> None:
    """From now on keep what is printed and what Python warns of; twice is once.

    Packages print notes of their own when they are imported (of data sets that nobody asked for, of
    optional packages), and warn of their own deprecations. A tool whose work has a log file starts
    so; :func:`take_library_remarks` ends it.
    """
    global _before
    if _before is None:
        _before = sys.stdout, warnings.showwarning
        sys.stdout = _Keeper()
        warnings.showwarning = _keep_warning


def _keep_warning(message: Any, category: type, filename: str, lineno: int, *_: Any) -> None:
    _kept.append(f'{filename}:{lineno}: {category.__name__}: {message}')


def real_stdout() -> TextIO:
    """The screen, also while what is printed is kept."""
    return sys.stdout if _before is None else _before[0]


def take_library_remarks() -> list[str]:
    """Show again what is printed; the lines that were kept, each of them once."""
    global _before
    if _before is not None:
        sys.stdout, warnings.showwarning = _before
        _before = None
    lines = list(dict.fromkeys(_kept))
    _kept.clear()
    return lines

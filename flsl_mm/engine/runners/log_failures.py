"""Logs that neither end a run nor fill the screen when they cannot be written."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from mmengine.logging import MMLogger
from mmengine.visualization import Visualizer


def mend_logger(logger: MMLogger) -> None:
    """Let a logger write names that are not UTF-8 escaped, and name a full log file once."""
    for handler in logger.handlers:
        stream = getattr(handler, 'stream', None)
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')
        if isinstance(handler, logging.FileHandler):
            tell = _teller(handler.baseFilename)
            handler.handleError = lambda _, tell=tell: tell(sys.exc_info()[1])


def mend_visualizer(visualizer: Visualizer) -> None:
    """Let training go on where the curves cannot be written; the folder is named once."""
    for backend in visualizer._vis_backends.values():
        backend.add_scalars = _telling(backend.add_scalars, getattr(backend, '_save_dir', backend))


def _telling(write: Callable, path: Any) -> Callable:
    tell = _teller(path)

    @wraps(write)
    def attempt(*args: Any, **kwargs: Any) -> None:
        try:
            write(*args, **kwargs)
        except OSError as error:
            tell(error)

    return attempt


def _teller(path: Any) -> Callable[[BaseException], None]:
    """What says on stderr, once, that a log cannot be written."""
    told = []

    def tell(error: BaseException) -> None:
        if not told:
            told.append(error)
            print(f'{path}: the log cannot be written ({error})', file=sys.stderr, flush=True)

    return tell

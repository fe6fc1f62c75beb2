"""What the screen shows of a run before its first iteration; the log file has all of it."""

import logging
import sys

from ...utils.counts import counted
from ...utils.files import short_path
from ...utils.library_remarks import real_stdout, take_library_remarks

LIBRARIES = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg', 'torch', 'torchvision', 'timm')
LONGEST = 2  # lines of a message


class StartScreen(logging.Filter):
    """Keeps the start of a run short on the screen, until :meth:`open` is called.

    Left to the log file are what libraries report (the environment, the config, the order of the
    hooks) and their deprecations; of a message of this package its first lines are shown. Other
    warnings and errors are shown whole.

    Args:
        logger: Of the run; without a log file all of it is shown.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.opened = False
        self._file = None
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                self._file = handler
        for handler in logger.handlers:
            if self._file and type(handler) is logging.StreamHandler:
                handler.setStream(real_stdout())
                handler.addFilter(self)
                handler.setFormatter(_Shortened(handler.formatter, self))

    @property
    def path(self) -> str | None:
        """Of the log file; None once all is shown, or where there is none."""
        return self._file.baseFilename if self._file and not self.opened else None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if self.opened or _logging_package() not in LIBRARIES:
            return True
        if record.levelno >= logging.ERROR:
            return True
        return record.levelno == logging.WARNING and 'deprecat' not in str(record.msg).lower()

    def open(self) -> int:
        """Show everything from now on; write to the file what libraries printed until now.

        Returns:
            int: How many remarks of libraries were written there.
        """
        self.opened = True
        return self.write_remarks()

    def write_remarks(self) -> int:
        """Write to the file what libraries printed until now; how many remarks there were."""
        lines = take_library_remarks()
        if lines and self._file:
            text = '\n'.join(['What libraries printed and warned of at the start:', *lines])
            self._file.handle(logging.LogRecord('mmengine', logging.INFO, '', 0, text, (), None))
        return len(lines)


class _Shortened(logging.Formatter):
    """Another formatter's text, cut while the screen is not open."""

    def __init__(self, inner: logging.Formatter, screen: StartScreen) -> None:
        super().__init__()
        self.inner, self.screen = inner, screen

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record, without its lines beyond the first ones."""
        text = self.inner.format(record)
        lines = text.splitlines()
        if record.levelno > logging.INFO or not self.screen.path or len(lines) <= LONGEST:
            return text
        rest = f'(and {counted(len(lines) - LONGEST, "line")} in {short_path(self.screen.path)})'
        return '\n'.join([*lines[:LONGEST], rest])


def _logging_package() -> str:
    """The top-level package of the code that logs the present record."""
    frame = sys._getframe(1)
    passed = ('logging', 'mmengine.logging.logger', __name__)
    while frame and frame.f_globals.get('__name__', '').startswith(passed):
        frame = frame.f_back
    return frame.f_globals.get('__name__', '').partition('.')[0] if frame else ''

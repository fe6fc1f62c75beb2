"""The errors that tell a user what is wrong, in one line and without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class DataError(ValueError):
    """Data on disk are not what they should be; the message says where, and what to do.

    The tools show the message alone, without a traceback.
    """


class ConfigError(DataError):
    """A setting is out of range, or does not fit another; the message says which.

    The tools show the message alone, as of every :class:`DataError`.
    """


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message is one line: what, where, what to do."""


@contextmanager
def errors_about(name: str) -> Iterator[None]:
    """Let a :class:`CheckpointError` inside start with the file's name."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f'{name}: {error}') from error


class TrainingStopped(RuntimeError):
    """Losses or weights are not finite; the message names the last good checkpoint.

    The tools show the message alone, without a traceback.
    """

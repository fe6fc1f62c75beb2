"""The errors that tell a user what is wrong, in one line and without a traceback.

They are siblings: what is caught says whose mistake it is. Any other error is one of the code, and
keeps its traceback.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """What a user can mend; the message is one line: what, where, what to do.

    The tools show the message alone, without a traceback.
    """


class DataError(UserError):
    """Data are not what they should be."""


class ConfigError(UserError):
    """A setting is out of range, does not exist, or does not fit another."""


class CheckpointError(UserError):
    """A checkpoint cannot be used."""


class TrainingStopped(UserError):
    """Losses or weights are not finite; the message names the last good checkpoint."""


@contextmanager
def errors_about(name: object) -> Iterator[None]:
    """Let the message of a :class:`UserError` inside start with the name of what it is about."""
    try:
        yield
    except UserError as error:
        raise type(error)(f'{name}: {error}') from error


def first_names(names: Sequence[str]) -> str:
    """The first three of some names, for messages."""
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')

"""The one error of this package."""

from collections.abc import Iterator
from contextlib import contextmanager


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message is one line: what, where, what to do."""


@contextmanager
def errors_about(name: str) -> Iterator[None]:
    """Let a :class:`CheckpointError` inside start with the file's name."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f'{name}: {error}') from error

"""One command of the demo."""

import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A command that a user could type, and what has to be done before it.

    Attributes:
        name: Short, unique; its log is called so.
        title: What it does, for people.
        command: Arguments of ``python``: a tool and its arguments.
        after: Names of the steps that it needs.
        seconds: What it takes about on one quiet core; the time left is reckoned from it.
    """

    name: str
    title: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    seconds: float = 10.0

    @property
    def text(self) -> str:
        """The command line, to be copied."""
        return shlex.join(('python', *self.command))

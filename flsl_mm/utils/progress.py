"""Progress lines: how far long work has come."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from mmengine.logging import print_log

from .counts import counted

Item = TypeVar('Item')
TELLING = 100  # iterations of pretraining, from which on its log says how it goes


def progress(
    items: Iterable[Item], total: int, what: str, interval: float = 20.0
) -> Iterator[Item]:
    """Log now and then how much of ``items`` is done, and the time left; nothing on short work.

    Args:
        items: What is worked on.
        total: Their number.
        what: What they are, such as ``'batches of images'``.
        interval: Seconds between two lines of the log.

    Yields:
        Item: The items.
    """
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= interval:
            left = (now - start) / done * (total - done)
            print_log(f'{what}: {done} of {total}, {format_time(left)} left', logger='current')
            last = now
        yield item


def about_length(iterations: int) -> str | None:
    """What the log of a pretraining of so few iterations does not tell; None of a longer one.

    At first prototypes fall out of use, and losses fall, in runs that go well (docs/pretrain.md).
    """
    if iterations >= TELLING:
        return None
    return (
        f'{counted(iterations, "iteration")}: too few for losses and health signs to tell a good '
        f'run from a bad one; look again after {TELLING}, better some hundred'
    )


def duration(seconds: float) -> str:
    """In words, such as ``0.35 s``, ``42 s`` or ``1:02:03``."""
    if seconds >= 100:
        return format_time(seconds)
    return f'{seconds:.2g} s'


def format_time(seconds: float) -> str:
    """Such as ``1:02:03``, or ``2:03`` below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'

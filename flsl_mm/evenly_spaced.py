"""A few of many."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar('Item')


def evenly_spaced(items: Sequence[Item], number: int) -> list[Item]:
    """At most ``number`` of the items, evenly spaced from the first; ``number`` is at least 1."""
    count = min(number, len(items))
    return [items[i * len(items) // count] for i in range(count)]

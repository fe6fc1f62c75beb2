"""Millions of strings in two arrays."""

import os
from collections.abc import Iterable, Sequence

import numpy as np

from ..utils.errors import DataError


class PackedStrings(Sequence):
    """An immutable sequence of strings without a Python object for each.

    A list of a million names costs forked data loader workers a copy each: reading a string changes
    its reference count, and so its memory page. Two arrays stay shared, and take a third of the
    space.

    Args:
        strings: File names or any other text; names that are not UTF-8 survive as in :mod:`os`.

    Attributes:
        data: All of them, one after the other, as UTF-8 bytes, (M,) uint8.
        ends: Where each ends in ``data``, (N,) int64.
    """

    def __init__(self, strings: Iterable[str] = ()) -> None:
        data, ends = bytearray(), []
        for string in strings:
            data += os.fsencode(string)
            ends.append(len(data))
        self.data = np.frombuffer(data, np.uint8)
        self.ends = np.array(ends, np.int64)

    @classmethod
    def from_arrays(cls, data: np.ndarray, ends: np.ndarray) -> 'PackedStrings':
        """The sequence that had these attributes.

        Raises:
            DataError: No sequence had.
        """
        fits = data.dtype == np.uint8 and data.ndim == 1 and ends.dtype == np.int64
        bounds = np.concatenate([[0], ends]) if fits and ends.ndim == 1 else np.array([1])
        if bounds[0] or bounds[-1] != len(data) or (np.diff(bounds) < 0).any():
            raise DataError('damaged: its names cannot be told apart')
        packed = cls()
        packed.data, packed.ends = data, ends
        return packed

    def __len__(self) -> int:
        """Number of strings."""
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        """One string; negative indices count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'string {index} of {len(self)}')
        index %= len(self)
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.data[start : self.ends[index]].tobytes())

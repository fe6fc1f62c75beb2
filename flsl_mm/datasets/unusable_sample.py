"""Unusable samples: why an image takes no part in an evaluation."""

from enum import IntEnum


class Unusable(IntEnum):
    """Reasons, as numbers that processes can exchange."""

    UNREADABLE = 1
    BAD_ANNOTATION = 2
    NO_BOX = 3
    BOX_OUTSIDE_CROP = 4
    OTHER_SIZE = 5

    @property
    def broken(self) -> bool:
        """Whether a file is damaged, rather than without the box that is looked for."""
        return self in (Unusable.UNREADABLE, Unusable.BAD_ANNOTATION)


class UnusableSample(Exception):
    """An image cannot take part; raised by transforms, counted by who reads the data set.

    Args:
        reason: The kind of trouble.
        message: What it is, without the path.
    """

    def __init__(self, reason: Unusable, message: str) -> None:
        super().__init__(message)
        self.reason = reason

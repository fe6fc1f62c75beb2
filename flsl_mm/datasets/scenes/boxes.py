"""What annotations say about objects, taken from the pixels."""

import numpy as np

from .scene import Picture, Scene

MIN_AREA = 16  # pixels; what is hidden but for less has no annotation


def visible_objects(scene: Scene, picture: Picture) -> list[tuple[int, np.ndarray]]:
    """The objects of a picture that can be annotated.

    Returns:
        list: Label, from 1, and mask (H, W) bool of the visible part of each.
    """
    masks = (picture.instances == number for number in range(1, len(scene.objects) + 1))
    pairs = ((item.label, mask) for item, mask in zip(scene.objects, masks))
    return [(label, mask) for label, mask in pairs if mask.sum() >= MIN_AREA]


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (both exclusive) of a mask (H, W) that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

"""Masks that belong to images."""

from pathlib import Path

import numpy as np

from ..utils.errors import DataError


def find_mask(image_path: str, folder: str) -> Path:
    """The mask of an image: its name with ``.png`` in ``folder``, in its subfolders or in none.

    Of ``davis/JPEGImages/480p/bear/00000.jpg`` it is ``bear/00000.png`` before ``00000.png``.

    Raises:
        DataError: There is none.
    """
    if not Path(folder).is_dir():
        raise DataError(f'there is no folder of masks {folder}')
    parts = Path(image_path).absolute().with_suffix('.png').parts[1:]
    for start in range(len(parts)):
        path = Path(folder, *parts[start:])
        if path.is_file():
            return path
    raise DataError(f'no mask for {image_path}: there is no {Path(folder, parts[-1])}')


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize labels (H, W) to ``size`` (height, width), each pixel taking the nearest label."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, mask.shape)
    )
    return mask[rows[:, None], columns]

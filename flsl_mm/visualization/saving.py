"""Pictures and their arrays as files, written whole or not at all."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np
from matplotlib.figure import Figure

from ..utils.files import whole_file


class PictureNames:
    """What the files of images are called, none like another.

    An image keeps its name where that is one of a kind that is written; ``a.tif`` becomes
    ``a.png``, or ``a.tif.png`` where there is an ``a.png`` too.
    """

    def __init__(self) -> None:
        self._taken: Counter[PurePath] = Counter()

    def __call__(
        self, folder: str, name: str, endings: tuple[str, ...] = ('.jpg', '.jpeg', '.png')
    ) -> PurePath:
        """The file of an image in a folder, ending in one of these."""
        path = PurePath(folder, name)
        if path.suffix.lower() not in endings:
            path = path.with_suffix('.png')
        if self._taken[path]:
            path = PurePath(folder, f'{name}.png')
        self._taken[path] += 1
        return path


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write a figure as PNG; makes the folder."""
    with whole_file(path) as draft:
        figure.savefig(draft, format='png', dpi=dpi)


def save_arrays(arrays: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Write arrays as compressed NPZ; makes the folder."""
    with whole_file(path) as draft, draft.open('wb') as file:
        np.savez_compressed(file, **arrays)


def figure_pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """A figure as an image, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()

"""Pictures and their arrays as files, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..utils.files import whole_file


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

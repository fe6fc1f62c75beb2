"""The pictures of the demo's report."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from ..datasets.scenes import CLASSES, Picture, sample_scene
from .comparison import Comparison

COLORS = {'random': '#8a94a3', 'DINO': '#d98324', 'FLSL': '#1f6fb4'}


def sample_pictures(number: int, size: tuple[int, int], seed: int = 12345) -> list[Picture]:
    """Scenes that are in no split of the demo."""
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, size).render() for _ in range(number)]


def scenes_figure(pictures: Sequence[Picture]) -> Figure:
    """Scenes above their classes."""
    colors = (255 * colormaps['tab10'](np.arange(10))[:, :3]).astype(np.uint8)
    palette = np.concatenate([np.zeros((1, 3), np.uint8), colors])
    figure = Figure(figsize=(1.5 * len(pictures), 3.7), layout='constrained')
    axes = figure.subplots(2, len(pictures))
    for column, picture in zip(axes.T, pictures):
        column[0].imshow(picture.image)
        column[1].imshow(palette[picture.labels])
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel('image', fontsize=9)
    axes[1, 0].set_ylabel('classes', fontsize=9)
    marks = [Line2D([], [], marker='s', ls='', color=c / 255) for c in colors]
    figure.legend(marks, CLASSES, loc='outside lower center', ncols=5, fontsize=8, frameon=False)
    return figure


def margins_figure(comparisons: Sequence[Comparison], methods: Sequence[str]) -> Figure:
    """Every seed of every method as a dot, a panel for each measure."""
    figure = Figure(figsize=(2.15 * len(comparisons), 2.5), layout='constrained')
    axes = np.atleast_1d(figure.subplots(1, len(comparisons)))
    for axis, comparison in zip(axes, comparisons):
        for place, method in enumerate(methods):
            values = comparison.values[method]
            axis.plot([place] * len(values), values, 'o', ms=6, color=COLORS[method], alpha=0.75)
            axis.hlines(comparison.mean(method), place - 0.3, place + 0.3, COLORS[method], lw=2)
        axis.set_xticks(range(len(methods)), methods, fontsize=8)
        axis.set_xlim(-0.6, len(methods) - 0.4)
        axis.set_title(comparison.title, fontsize=9)
        axis.tick_params(axis='y', labelsize=7)
        axis.grid(axis='y', alpha=0.25)
        for side in ('top', 'right'):
            axis.spines[side].set_visible(False)
    return figure


def training_figure(curves: Mapping[str, Mapping[str, tuple[Sequence, Sequence]]]) -> Figure:
    """Curves by panel and by name of the line: iterations and values."""
    figure = Figure(figsize=(3.1 * len(curves), 2.5), layout='constrained')
    axes = np.atleast_1d(figure.subplots(1, len(curves)))
    for axis, (title, lines) in zip(axes, curves.items()):
        for name, (x, y) in lines.items():
            axis.plot(x, y, label=name, lw=1.4, color=COLORS.get(name), marker='o', ms=2.5)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel('iteration', fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        if len(lines) > 1:
            axis.legend(fontsize=7, frameon=False)
    return figure


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """An image with more pixels, so that more tokens fit on it: uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    return np.asarray(
        Image.fromarray(image).resize((factor * width, factor * height), Image.BICUBIC)
    )

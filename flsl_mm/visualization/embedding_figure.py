"""Drawing embedded tokens as scatter plots."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..utils.files import printable
from .map_figure import PLAIN_TEXT, fit, shorten, text_width
from .token_embedding import TokenEmbedding

CELL = 2.3  # inches
MAX_COLORS = 20
MAX_NAME = 24  # characters
OTHER = (0.75, 0.75, 0.75, 1.0)


@matplotlib.rc_context(PLAIN_TEXT)
def draw_embeddings(
    embeddings: Mapping[str, TokenEmbedding],
    label_names: Mapping[int, str],
    legend: str = '',
) -> Figure:
    """Scatter plots of tokens: a row for each network, a column for each layer.

    With one layer the networks stand side by side in one row.

    Args:
        embeddings: By the name of the network.
        label_names: What to call the labels; beyond the 20 most frequent they share a gray.
        legend: Heading of the legend.

    Returns:
        Figure: Of the object-oriented interface.
    """
    colors = _colors(np.concatenate([e.labels for e in embeddings.values()]))
    names = [_label_name(label, label_names) for label in colors]
    rows = [[(name, i) for i in range(len(e.layers))] for name, e in embeddings.items()]
    side_by_side = all(len(row) == 1 for row in rows)
    if side_by_side:
        rows = [[panel for row in rows for panel in row]]
    columns = max(map(len, rows))
    width = max(text_width(text, 8) for text in (*names, legend, 'other')) + 0.6  # of the legend
    size = CELL * columns + width, max(CELL * len(rows) + 0.4, 0.19 * len(names) + 0.5)
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, axes):
        for axis, (network, layer) in zip(line, row):
            _draw_tokens(axis, embeddings[network], layer, colors)
            name = fit(network, CELL - 0.1, 9)
            if side_by_side:
                axis.set_title(f'{name}\n{axis.get_title()}', fontsize=9)
            elif layer == 0:
                axis.set_ylabel(name, fontsize=9)
        for axis in line[len(row) :]:
            axis.set_axis_off()
    handles = [_dot(color, name) for color, name in zip(colors.values(), names)]
    if any(int(n) not in colors for e in embeddings.values() for n in e.labels):
        handles.append(_dot(OTHER, 'other'))
    figure.legend(
        handles=handles, loc='outside right upper', title=legend or None, fontsize=8,
        title_fontsize=8, frameon=False, handletextpad=0.1,
    )  # fmt: skip
    return figure


def _draw_tokens(
    axis: Axes, embedding: TokenEmbedding, layer: int, colors: Mapping[int, tuple]
) -> None:
    """The scatter plot of one layer, called after its block."""
    shades = np.array([colors.get(int(n), OTHER) for n in embedding.labels])
    axis.scatter(*embedding.points[layer].T, c=shades, s=5, lw=0)
    axis.set_title(f'block {embedding.layers[layer]}', fontsize=9)
    axis.set(xticks=[], yticks=[], box_aspect=1)
    axis.margins(0.04)


def _colors(labels: np.ndarray) -> dict[int, tuple]:
    """A color for each of the 20 most frequent labels, in the order of the labels."""
    values, counts = np.unique(labels, return_counts=True)
    shown = sorted(values[np.argsort(-counts, kind='stable')[:MAX_COLORS]].tolist())
    palette = matplotlib.colormaps['tab10' if len(shown) <= 10 else 'tab20'].colors
    return dict(zip(shown, palette))


def _label_name(label: int, names: Mapping[int, str]) -> str:
    return shorten(printable(names.get(label, f'label {label}')), MAX_NAME)


def _dot(color: tuple, label: str) -> Line2D:
    """An entry of the legend."""
    return Line2D([], [], ls='', marker='o', ms=5, mec='none', mfc=color, label=label)

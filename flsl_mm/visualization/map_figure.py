"""Drawing maps beside their images, in the grid of the paper's Figures 4 and 6."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from ..utils.files import printable
from .query_points import Point
from .token_maps import TokenMaps


def text_width(text: str, size: float) -> float:
    """Width in inches of a line of text without formulas, at a font size in points."""
    font = FontProperties(size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def fit(name: str, width: float, size: float) -> str:
    """A name that is at most as wide as told: a longer one loses its middle.

    Args:
        name: One line.
        width: In inches; three letters always stay.
        size: Of the font, in points.
    """
    name = printable(name)
    letters = len(name)
    while letters > 3 and text_width(shorten(name, letters), size) > width:
        letters -= 1
    return shorten(name, letters)


def shorten(name: str, letters: int) -> str:
    """A name of at most ``letters``: a longer one loses its middle."""
    head, tail = max(letters - 1, 2) // 2, max(letters, 3) // 2
    return name if len(name) <= letters else f'{name[:head]}…{name[-tail:]}'


COLOR_MAP = 'inferno'
CELL = 1.75  # inches, the width of an image
ASPECTS = 0.35, 1.35  # height of a cell by its width; taller images get narrower
GAP = 0.06  # inches between cells
BAR = 0.12  # inches, the width of the color bar
PLAIN_TEXT = {'text.parse_math': False}  # names of files may have dollars


class Colors(NamedTuple):
    """How values become colors.

    Attributes:
        label: What the color bar says; '' for no bar (maps that are colors already).
        relative: Whether each map is divided by its maximum first.
    """

    label: str
    relative: bool = False


class _Cell(NamedTuple):
    """One map of the grid: of which network, at which of its layers."""

    network: str
    layer: int


class _Row(NamedTuple):
    """One row of the grid; ``title`` names the network where the columns are layers."""

    image: int
    query: int
    cells: list[_Cell]
    title: str


@matplotlib.rc_context(PLAIN_TEXT)
def draw_maps(
    images: Sequence[np.ndarray],
    maps: Mapping[str, TokenMaps],
    colors: Colors,
    names: Sequence[str] | None = None,
    points: Sequence[Sequence[Point]] | None = None,
) -> Figure:
    """Draw maps of several networks on several images.

    With one layer, rows are images (or their query points) and columns are networks, as in the
    paper's Figure 6; with several, columns are layers and each network has its row, as in its
    Figure 4. The first column is the image, with the query of the row marked in green.

    Args:
        images: uint8 (H, W, 3) each.
        maps: Maps by the name of the network.
        colors: How values become colors.
        names: What to call the images; their numbers by default.
        points: Query points of each image, where the maps have queries.

    Returns:
        Figure: Of the object-oriented interface; ``savefig`` writes it.
    """
    names = names or [f'image {i + 1}' for i in range(len(images))]
    rows = _make_rows(maps, points or [[None]] * len(images))
    heads = ['image', *_heads(maps, rows)]
    heights = [_height(images[row.image]) for row in rows]
    figure, axes = _grid(heights, len(heads), 0.25 * bool(rows[0].title), colors)
    for row, line, height in zip(rows, axes, heights):
        length = CELL * height
        point = points[row.image][row.query] if points else None
        draw_image(line[0], images[row.image], [point] if point else [])
        line[0].set_ylabel(fit(names[row.image], length, 8), fontsize=8)
        line[1].set_ylabel(fit(row.title, length, 8), fontsize=8)
        for axis, cell in zip(line[1:], row.cells):
            _draw_map(axis, maps[cell.network], row, cell, images[row.image].shape[:2], colors)
        for axis in line[1 + len(row.cells) :]:
            axis.set_axis_off()
    for axis, head in zip(axes[0], heads):
        axis.set_title(head, fontsize=9)
    return figure


def _height(image: np.ndarray) -> float:
    """Height of an image's cell by its width."""
    low, high = ASPECTS
    return min(max(image.shape[0] / image.shape[1], low), high)


def _grid(
    heights: Sequence[float], columns: int, margin: float, colors: Colors
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (rows, columns), with a color bar if it has a label.

    Args:
        heights: Of the rows, by the width of a column.
        columns: Of pictures.
        margin: Inches for labels, beside those of the images.
        colors: What the bar says.
    """
    has_bar = bool(colors.label)
    size = (
        CELL * columns + margin + 0.35 + 0.75 * has_bar,
        # One flat row is lower than the bar's label is long.
        max(CELL * sum(heights) + GAP * len(heights), text_width(colors.label, 8)) + 0.4,
    )
    figure = Figure(figsize=size, layout='constrained')
    edge = 0.06 / size[0]  # labels beside the images would be cut a little
    figure.get_layout_engine().set(
        w_pad=GAP / 2, h_pad=GAP / 2, hspace=0.0, wspace=0.0, rect=(edge, 0, 1 - edge, 1)
    )
    # The bar has a column of its own: taking its place from axes would move those of its rows.
    widths = [CELL] * columns + [BAR] * has_bar
    grid = figure.add_gridspec(
        len(heights), len(widths), width_ratios=widths, height_ratios=heights
    )
    axes = [[figure.add_subplot(grid[r, c]) for c in range(columns)] for r in range(len(heights))]
    if has_bar:
        # Beside the first rows only: one as long as a page tells no more.
        rows = max(1, round(3 / np.mean(heights)))
        _draw_color_bar(figure.add_subplot(grid[:rows, -1]), colors)
    return figure, np.array(axes)


def _draw_color_bar(axis: Axes, colors: Colors) -> None:
    """The colors from 0 to 1 and what they stand for."""
    scale = ScalarMappable(Normalize(0, 1), COLOR_MAP)
    bar = axis.figure.colorbar(scale, cax=axis)
    bar.set_label(colors.label, fontsize=8)
    axis.tick_params(labelsize=7)


def draw_image(axis: Axes, image: np.ndarray, points: Sequence[Point] = ()) -> None:
    """Show an image (H, W, 3) with query points marked by green circles, as the paper does."""
    axis.imshow(image)
    height, width = image.shape[:2]
    for x, y in points:
        place = [x * width - 0.5], [y * height - 0.5]
        axis.plot(*place, 'o', ms=8, mfc='none', mec='white', mew=3.0)
        axis.plot(*place, 'o', ms=8, mfc='none', mec='limegreen', mew=1.6)
    _frame(axis, (height, width))


def _draw_map(
    axis: Axes, maps: TokenMaps, row: _Row, cell: _Cell, size: tuple[int, int], colors: Colors
) -> None:
    """Show one map over the extent of its image."""
    values = maps.maps[row.image][cell.layer, row.query]
    if colors.relative:
        values = values / max(values.max(), 1e-12)
    height, width = (n * maps.patch_size for n in values.shape[:2])
    axis.imshow(
        values,
        cmap=COLOR_MAP,
        vmin=0,
        vmax=1,
        interpolation='nearest',
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
    _frame(axis, size)  # the padding of the last patches is outside
    text = maps.notes[row.image][cell.layer][row.query] if maps.notes else ''
    if text:
        note = axis.text(
            0.03,
            0.03,
            text,
            color='white',
            fontsize=7,
            transform=axis.transAxes,
            bbox=dict(facecolor='black', alpha=0.6, lw=0, pad=1.5),
        )
        note.set_in_layout(False)  # it may be wider than a narrow map


def _frame(axis: Axes, size: tuple[int, int]) -> None:
    """No ticks; the limits of an image of ``size`` (height, width)."""
    axis.set(
        xticks=[], yticks=[], xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5), anchor='N'
    )


def _make_rows(
    maps: Mapping[str, TokenMaps], points: Sequence[Sequence[Point | None]]
) -> list[_Row]:
    """Rows of the grid, see :func:`draw_maps`."""
    rows = []
    for i, queries in enumerate(points):
        for q in range(len(queries)):
            if all(len(m.layers) == 1 for m in maps.values()):
                rows.append(_Row(i, q, [_Cell(label, 0) for label in maps], ''))
            else:
                rows += [
                    _Row(i, q, [_Cell(label, layer) for layer in range(len(m.layers))], label)
                    for label, m in maps.items()
                ]
    return rows


def _heads(maps: Mapping[str, TokenMaps], rows: Sequence[_Row]) -> list[str]:
    """What the columns of maps show."""
    if not rows[0].title:
        return [f'{fit(label, CELL - GAP, 9)}\nblock {m.layers[0]}' for label, m in maps.items()]
    heads = []
    for column in range(max(len(m.layers) for m in maps.values())):
        blocks = {m.layers[column]: None for m in maps.values() if column < len(m.layers)}
        heads.append('block ' + ' / '.join(map(str, blocks)))
    return heads

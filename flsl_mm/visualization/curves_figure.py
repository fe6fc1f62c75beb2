"""Drawing training logs as curves."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..utils.errors import DataError
from .map_figure import PLAIN_TEXT
from .training_log import logged_curve

DEFAULT_KEYS = (
    'loss', 'loss_intra', 'loss_inter', 'loss_volume', 'prototypes_used', 'entropy_p_bar',
    'attended_tokens', 'cos_token_mode', 'max_p_t', 'place_share', 'matching_accuracy', 'lr',
)  # fmt: skip
COLUMNS = 3
CELL = (3.3, 2.3)  # inches


@matplotlib.rc_context(PLAIN_TEXT)
def curves_figure(
    runs: Mapping[str, Sequence[dict]],
    keys: Sequence[str] | None = None,
    window: int = 1,
) -> Figure:
    """Curves of training, a panel for each number and a line for each run.

    Args:
        runs: Rows of a log (:func:`.read_training_log`) by the name of the run.
        keys: Numbers to draw, such as ``'loss'`` or ``'coco/bbox_mAP'``; by default those of the
            losses and health signs that the runs have.
        window: How many values to average over, those before each point; 1 draws them as they are.

    Returns:
        Figure: Of the object-oriented interface.

    Raises:
        DataError: No run has logged a wanted number.
    """
    logged = {key: None for rows in runs.values() for row in rows for key in row}
    keys = list(keys or [key for key in DEFAULT_KEYS if key in logged])
    unknown = [key for key in keys if key not in logged]
    if unknown or not keys:
        known = ', '.join(k for k in logged if k not in ('iter', 'step', 'epoch'))
        missing = ', '.join(unknown) or 'any of the usual numbers'
        raise DataError(f'not in the log: {missing}; there is: {known}')
    columns = min(COLUMNS, len(keys))
    count = math.ceil(len(keys) / columns)
    size = CELL[0] * columns + 0.2, CELL[1] * count + (0.75 if len(runs) > 1 else 0.45)
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(count, columns, squeeze=False).ravel()
    for axis, key in zip(axes, keys):
        for number, (label, rows) in enumerate(runs.items()):
            _draw_curve(axis, *logged_curve(rows, key), window, f'C{number}', label)
        axis.set_title(key, fontsize=9)
        axis.set_xlabel('iteration', fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    for axis in axes[len(keys) :]:
        axis.set_axis_off()
    if len(runs) > 1:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc='outside upper center', ncols=min(4, len(runs)), fontsize=8,
            frameon=False,
        )  # fmt: skip
    return figure


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and those before it, at most ``window`` together."""
    parts = (values[max(0, i + 1 - window) : i + 1] for i in range(len(values)))
    return [sum(part) / len(part) for part in parts]


def _draw_curve(
    axis: Axes, x: list[int], y: list[float], window: int, color: str, label: str
) -> None:
    if window > 1:
        axis.plot(x, y, color=color, lw=0.6, alpha=0.3)
    marker = 'o' if len(y) < 15 else None  # few points show better with their places
    axis.plot(x, smooth(y, window), color=color, lw=1.4, marker=marker, ms=3, label=label)

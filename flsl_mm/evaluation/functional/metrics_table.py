"""Metrics as text."""

from collections.abc import Mapping

from flsl_mm.text_table import text_table


def metrics_table(metrics: Mapping[str, float]) -> str:
    """A plain-text table of metrics, boxes and masks side by side.

    Args:
        metrics: Value by name, as mmengine's evaluators return them. ``coco/bbox_mAP`` and
            ``coco/segm_mAP`` share the row ``mAP``; a name without such a prefix is a row of one
            value.

    Returns:
        str: A header line and one line per row; values with at least three decimals.

    Examples:
        >>> print(metrics_table({'coco/bbox_mAP': 0.449, 'coco/segm_mAP': 0.408}))
        metric   bbox   segm
        mAP     0.449  0.408
    """
    columns: list[str] = []
    rows: dict[str, dict[str, str]] = {}
    for name, value in metrics.items():
        column, row = _place(name)
        if column not in columns:
            columns.append(column)
        rows.setdefault(row, {})[column] = f'{value:.3f}'
    lines = [['metric', *columns]]
    lines += [[row, *(cells.get(c, '') for c in columns)] for row, cells in rows.items()]
    return text_table(lines)


def _place(name: str) -> tuple[str, str]:
    """Column and row of a metric."""
    short = name.rsplit('/', 1)[-1]
    for kind in ('bbox', 'segm'):
        if short.startswith(f'{kind}_'):
            return kind, short.removeprefix(f'{kind}_')
    return 'value', name

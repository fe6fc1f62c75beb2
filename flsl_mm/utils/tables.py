"""Tables of numbers as plain text."""

from collections.abc import Mapping, Sequence
from numbers import Number
from statistics import fmean, stdev
from typing import Any


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Lines with the first column to the left and the others to the right, two spaces apart.

    Args:
        rows: Of as many cells each, at least one row.

    Returns:
        str: One line for each row, without spaces at its end.

    Examples:
        >>> print(text_table([['', 'mIoU'], ['a.pth', '7.1']]))
               mIoU
        a.pth   7.1
    """
    widths = column_widths(rows)
    return '\n'.join(
        '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    )


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Characters that the longest cell of each column of :func:`text_table` has."""
    return [max(map(len, column)) for column in zip(*rows)]


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean with one decimal, and with the standard deviation (n - 1) where there are several.

    Examples:
        >>> mean_and_spread([50.0, 52.0, 54.0])
        '52.0 ± 2.0'
    """
    mean = f'{fmean(values):.1f}'
    return f'{mean} ± {stdev(values):.1f}' if len(values) > 1 else mean


Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Numbers by network, task and name."""


def comparison_table(results: Results) -> str:
    """One row for each network and one column for each number of each task.

    Args:
        results: Numbers by network, task and name; what is no number is left out, but for the word
            ``tokens``, which is the last column, and ``data``, what they are of. A network may lack
            some of them. A task of several parts names its numbers ``part/name``; then the parts
            take the place of the task, or stand behind it where another has a part of that name.

    Returns:
        str: A line with the tasks, one with the names of their numbers and one for each network;
        fractions with two decimals; then one with the data of all tasks, where they are told.

    Examples:
        >>> print(comparison_table({'a.pth': {'knn': {'top1': 76.72, 'images': 50000}}}))
                 knn
        network   top1  images
        a.pth    76.72   50000
    """
    columns: dict[tuple[str, str], None] = {}  # an ordered set
    for tasks in results.values():
        for task, numbers in tasks.items():
            columns.update(dict.fromkeys((task, n) for n, v in numbers.items() if _is_number(v)))
    owners: dict[str, set[str]] = {}
    for task, name in columns:
        owners.setdefault(name.rpartition('/')[0], set()).add(task)
    titles = []
    for task, name in columns:
        part = name.rpartition('/')[0]
        alone = part and len(owners[part]) == 1
        titles.append(part if alone else f'{task} {part}'.rstrip())
    header = ['' if i and titles[i - 1] == title else title for i, title in enumerate(titles)]
    rows = [['network', *(name.rpartition('/')[2] for _, name in columns)]]
    for network, found in results.items():
        values = (found.get(task, {}).get(name) for task, name in columns)
        rows.append([network, *('' if v is None else _format(v) for v in values)])
    words = [next((n['tokens'] for n in t.values() if 'tokens' in n), '') for t in results.values()]
    if any(words):
        header.append('')
        rows = [[*row, word] for row, word in zip(rows, ['tokens', *words])]
    _make_room(header, rows)
    table = f'{_title_line(header, column_widths(rows))}\n{text_table(rows)}'
    return '\n'.join([table, *_data_line(results)])


def _data_line(results: Results) -> list[str]:
    """What each task's numbers are of, as a list of one line; of networks that differ all."""
    told: dict[str, dict[str, None]] = {}
    for tasks in results.values():
        for task, numbers in tasks.items():
            if 'data' in numbers:
                told.setdefault(task, {})[numbers['data']] = None
    parts = [f'{task}: {" or ".join(data)}' for task, data in told.items()]
    return [f'({"; ".join(parts)})'] if parts else []


def _make_room(titles: Sequence[str], rows: list[list[str]]) -> None:
    """Widen the last column of a task whose title would reach the next one's, in place."""
    widths = column_widths(rows)[1:]
    starts = [i for i, title in enumerate(titles) if title]
    for start, end in zip(starts, starts[1:]):
        room = sum(widths[start:end]) + 2 * (end - start - 1)
        if (short := len(titles[start]) - room) > 0:
            rows[0][end] = rows[0][end].rjust(widths[end - 1] + short)


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _format(value: Number) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)


def _title_line(titles: list[str], widths: list[int]) -> str:
    """Titles above the left end of their columns."""
    line, place = '', widths[0] + 2
    for title, width in zip(titles, widths[1:]):
        if title:
            line = line.ljust(place) + title
        place += width + 2
    return line.rstrip()


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
        column, row = _metric_cell(name)
        if column not in columns:
            columns.append(column)
        rows.setdefault(row, {})[column] = f'{value:.3f}'
    lines = [['metric', *columns]]
    lines += [[row, *(cells.get(c, '') for c in columns)] for row, cells in rows.items()]
    return text_table(lines)


def _metric_cell(name: str) -> tuple[str, str]:
    """Column and row of a metric."""
    short = name.rsplit('/', 1)[-1]
    for kind in ('bbox', 'segm'):
        if short.startswith(f'{kind}_'):
            return kind, short.removeprefix(f'{kind}_')
    return 'value', name

"""Several networks, evaluated on several tasks, as one text table."""

from collections.abc import Mapping
from numbers import Number
from typing import Any

from flsl_mm.text_table import column_widths, text_table

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Numbers by network, task and name."""


def comparison_table(results: Results) -> str:
    """One row for each network and one column for each number of each task.

    Args:
        results: Numbers by network, task and name; what is no number is left out. A network may
            lack some of them. A task of several parts names its numbers ``part/name``; then the
            parts take the place of the task.

    Returns:
        str: A line with the tasks, one with the names of their numbers and one for each network;
        fractions with two decimals.

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
    titles = [name.rpartition('/')[0] or task for task, name in columns]
    header = ['' if i and titles[i - 1] == title else title for i, title in enumerate(titles)]
    rows = [['network', *(name.rpartition('/')[2] for _, name in columns)]]
    for network, found in results.items():
        values = (found.get(task, {}).get(name) for task, name in columns)
        rows.append([network, *('' if v is None else _format(v) for v in values)])
    # A task's title may run on over its own columns, so it does not widen the first of them.
    return f'{_title_line(header, column_widths(rows))}\n{text_table(rows)}'


def _is_number(value: Any) -> bool:
    return isinstance(value, Number) and not isinstance(value, bool)


def _format(value: Number) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)


def _title_line(titles: list[str], widths: list[int]) -> str:
    """Titles above the left end of their columns; one too long for its task pushes the next."""
    line, place = '', widths[0] + 2
    for title, width in zip(titles, widths[1:]):
        if title:
            line = f'{line} '.ljust(place) + title if line else ' ' * place + title
        place += width + 2
    return line.rstrip()

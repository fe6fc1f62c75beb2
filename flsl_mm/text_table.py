"""Rows of cells as plain text."""

from collections.abc import Sequence


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

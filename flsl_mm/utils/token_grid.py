"""The grid of a ViT's tokens: how many cover an image, their order, and where they lie.

Tokens are numbered row by row from the upper left, and every position is x, y. Numbers, arrays and
tensors of indices are all treated alike.
"""

from typing import TypeVar

Number = TypeVar('Number')  # int, or an array or tensor


def grid_of_size(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Rows and columns of the patches that cover an image, padded right and below."""
    return -(-height // patch_size), -(-width // patch_size)


def token_index(row: Number, column: Number, grid: tuple[int, int]) -> Number:
    """Index of the token in a row and a column of a grid of (rows, columns)."""
    return row * grid[1] + column


def token_center(
    index: Number, grid: tuple[int, int], size: tuple[float, float] = (1, 1)
) -> tuple[Number, Number]:
    """Center of a token's cell.

    Args:
        index: Of the token.
        grid: Rows and columns.
        size: Height and width that the grid covers; 1 for positions in fractions of it.

    Returns:
        tuple: x and y.
    """
    row, column = index // grid[1], index % grid[1]
    return (column + 0.5) * size[1] / grid[1], (row + 0.5) * size[0] / grid[0]

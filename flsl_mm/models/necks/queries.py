"""Queries: where they lie on the token grid, and where in another view."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.errors import ConfigError
from ...utils.token_grid import token_center, token_index


def window_queries(
    grid: tuple[int, int], window: int, batch: int, random_queries: bool = False
) -> Tensor:
    """Choose one token of every ``window x window`` block as a query (paper, Appendix I.2).

    A grid that the window does not divide is covered by the largest sub-grid that it does divide,
    aligned to a corner drawn at random (torch's global generator).

    Args:
        grid: Rows and columns of tokens.
        window: Side of a block in tokens.
        batch: Number of images B.
        random_queries: Draw the token within every block, for each image by itself, instead of
            taking the block's top-left one.

    Returns:
        Tensor: int64 token indices (B, Q) on the CPU, row-major, Q = (rows // window) *
        (columns // window).

    Raises:
        ConfigError: The window is larger than the grid.
    """
    if window > min(grid):
        raise ConfigError(
            f'a query window of {window} tokens does not fit a grid of {grid[0]} x {grid[1]} '
            'tokens: make the window smaller or the view larger'
        )
    starts = []
    for size in grid:
        slack = size % window
        corner = slack * int(torch.randint(2, ())) if slack else 0
        starts.append(corner + window * torch.arange(size // window))
    rows, columns = (axis.flatten() for axis in torch.meshgrid(*starts, indexing='ij'))
    if random_queries:
        shift = torch.randint(window, (2, batch, len(rows)))
        rows, columns = rows + shift[0], columns + shift[1]
    return token_index(rows, columns, grid).expand(batch, -1)


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Pick tokens by index: (B, N, D) and (B, Q) to (B, Q, D)."""
    return tokens.gather(1, indices.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def project_queries(
    indices: Tensor, grid: tuple[int, int], box: Tensor, target_box: Tensor
) -> Tensor:
    """Centers of query tokens, as positions in another view of the same image.

    Args:
        indices: Token indices (B, Q) in the view that was cut at ``box``.
        grid: Rows and columns of that view's tokens.
        box: (B, 4) as x1, y1, x2, y2 in any units common to both boxes.
        target_box: (B, 4), the crop of the other view.

    Returns:
        Tensor: (B, Q, 2) as x, y in fractions of the other view; outside [0, 1] when not in it.
    """
    centers = torch.stack(token_center(indices, grid), dim=-1)
    box, target_box = box.unsqueeze(1), target_box.unsqueeze(1)  # (B, 1, 4)
    points = box[..., :2] + centers * (box[..., 2:] - box[..., :2])
    return (points - target_box[..., :2]) / (target_box[..., 2:] - target_box[..., :2])


def sample_tokens(tokens: Tensor, grid: tuple[int, int], points: Tensor) -> Tensor:
    """Bilinear features at positions of a view; the border value outside it.

    Args:
        tokens: (B, N, D), row-major over ``grid``.
        grid: Rows and columns.
        points: (B, Q, 2) as x, y in fractions of the view.

    Returns:
        Tensor: (B, Q, D).
    """
    maps = tokens.transpose(1, 2).unflatten(2, grid)  # (B, D, rows, columns)
    samples = F.grid_sample(
        maps,
        (2 * points - 1).unsqueeze(1).to(maps.dtype),
        padding_mode='border',
        align_corners=False,
    )  # (B, D, 1, Q)
    return samples.squeeze(2).transpose(1, 2)

"""Queries: where they lie on the token grid, and where in another view; whole windows of them."""

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
    rows, columns = _window_corners(grid, window)
    if random_queries:
        shift = torch.randint(window, (2, batch, len(rows)))
        rows, columns = rows + shift[0], columns + shift[1]
    return token_index(rows, columns, grid).expand(batch, -1)


def draw_places(grid: tuple[int, int], window: int, batch: int, keep: float) -> Tensor:
    """Draw the windows whose tokens a student encodes, for each image by itself.

    Windows are those of :func:`window_queries`. Their number is the same for every image, so views
    stay whole tensors, and every process has as many queries.

    Args:
        grid: Rows and columns of tokens.
        window: Side of a window in tokens.
        batch: Number of images B.
        keep: Share of the view's tokens, in (0, 1]; rounded to whole windows, at least one and at
            most all of them.

    Returns:
        Tensor: int64 token indices (B, K) on the CPU, window after window, each row-major.

    Raises:
        ConfigError: The window is larger than the grid.
    """
    rows, columns = _window_corners(grid, window)
    count = round(keep * grid[0] * grid[1] / window**2)
    count = min(max(count, 1), len(rows))
    drawn = torch.rand(batch, len(rows)).argsort(dim=1)[:, :count]
    corners = token_index(rows, columns, grid)[drawn]  # (B, windows)
    steps = torch.arange(window)
    inside = token_index(steps.unsqueeze(1), steps, grid).flatten()  # (window * window,)
    return (corners.unsqueeze(2) + inside).flatten(1)


def kept_queries(places: Tensor, window: int, random_queries: bool = False) -> Tensor:
    """Choose one token of every kept window as a query.

    Args:
        places: What :func:`draw_places` gives (B, K).
        window: Side of a window in tokens.
        random_queries: As for :func:`window_queries`.

    Returns:
        Tensor: int64 (B, Q), which of the K kept tokens they are, on the CPU; Q = K / window^2.
    """
    batch, size = len(places), window**2
    starts = torch.arange(0, places.shape[1], size)
    if random_queries:
        starts = starts + torch.randint(size, (batch, len(starts)))
    return starts.expand(batch, -1)


def _window_corners(grid: tuple[int, int], window: int) -> tuple[Tensor, Tensor]:
    """Rows and columns (Q,) of the top-left tokens of a grid's windows.

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
    rows, columns = torch.meshgrid(*starts, indexing='ij')
    return rows.flatten(), columns.flatten()


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

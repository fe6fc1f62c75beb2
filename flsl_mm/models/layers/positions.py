"""Places of tokens: tables of them that are read in random windows, and tokens picked by them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...utils.errors import ConfigError
from ...utils.token_grid import token_center


def token_centers(grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """Centers of the tokens of a grid: (N, 2) as x, y in fractions of the view, row-major."""
    indices = torch.arange(grid[0] * grid[1], device=device)
    return torch.stack(token_center(indices, grid), dim=-1)


def gather_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Pick tokens by index: (B, N, D) and (B, Q) to (B, Q, D)."""
    return tokens.gather(1, indices.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def check_sides(name: str, sides: Sequence[float] | None) -> tuple[float, float] | None:
    """The range of the side of random windows, if it is one.

    Raises:
        ConfigError: It is no range inside (0, 1].
    """
    if sides is None:
        return None
    if len(sides) != 2 or not 0 < sides[0] <= sides[1] <= 1:
        raise ConfigError(
            f'{name}: position_window must be None or (low, high) with 0 < low <= high <= 1, '
            f'shares of the side of the position table, got {sides}'
        )
    return tuple(sides)


def draw_windows(batch: int, sides: tuple[float, float]) -> Tensor:
    """Random square windows, one for each image, from torch's global CPU generator.

    Args:
        batch: Number of images B.
        sides: Smallest and largest side, as shares of the whole; its logarithm is uniform.

    Returns:
        Tensor: (B, 4) as x1, y1, x2, y2 in fractions of the whole, on the CPU.
    """
    low, high = (torch.tensor(side).log() for side in sides)
    share, *corner = torch.rand(3, batch)
    side = (low + (high - low) * share).exp().clamp(max=1)
    corner = torch.stack(corner, dim=-1) * (1 - side).unsqueeze(-1)  # (B, 2)
    return torch.cat([corner, corner + side.unsqueeze(-1)], dim=-1)


def read_windows(
    table: Tensor, grid: tuple[int, int], target: tuple[int, int], windows: Tensor
) -> Tensor:
    """A position table read in a window for each image, bilinearly.

    Args:
        table: (1, N, D), row-major over ``grid``.
        grid: Rows and columns of the table.
        target: Rows and columns of the images' tokens, which cover the window evenly.
        windows: (B, 4) as :func:`draw_windows` gives them; the whole table gives the table itself
            where ``target`` is ``grid``.

    Returns:
        Tensor: (B, target[0] * target[1], D), in the dtype of ``table``.
    """
    windows = windows.to(table.device, table.dtype, non_blocking=True)
    with torch.autocast(table.device.type, enabled=False):
        # One axis after the other, as matrix products: many times faster than a gather of points.
        x, y = (
            _axis_weights(windows[:, i], windows[:, i + 2], target[1 - i], grid[1 - i])
            for i in (0, 1)
        )
        rows = torch.tensordot(y, table[0].unflatten(0, grid), 1)  # (B, h, columns, D)
        return (x.unsqueeze(1) @ rows).flatten(1, 2)


def rotary_in_windows(periods: Tensor, grid: tuple[int, int], windows: Tensor) -> Tensor:
    """Axial rotary positions as DINOv3's, of which each image covers a window.

    Shifting and rescaling the coordinates of an image is reading them in a window. In the whole
    one, the centers of the first and the last of n tokens lie at -1 + 1/n and 1 - 1/n.

    Args:
        periods: (d / 4,), of coordinates in [-1, 1]; d is the width of an attention head.
        grid: Rows and columns of the N tokens.
        windows: (B, 4) as :func:`draw_windows` gives them.

    Returns:
        Tensor: (B, 1, N, 2 d): sines, then cosines, for heads whose halves turn against each other.
    """
    centers = token_centers(grid, periods.device)  # (N, 2) as x, y
    corners = windows.to(periods.device, centers.dtype, non_blocking=True).unflatten(1, (2, 2))
    start, end = corners.unsqueeze(2).unbind(1)  # (B, 1, 2)
    places = 2 * torch.lerp(start, end, centers) - 1  # (B, N, 2)
    angles = 2 * torch.pi * places.flip(-1).unsqueeze(-1) / periods  # (B, N, 2, d / 4): y, x
    angles = angles.flatten(2).tile(2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).unsqueeze(1)


def _axis_weights(start: Tensor, end: Tensor, count: int, size: int) -> Tensor:
    """Linear weights of ``size`` entries at ``count`` places between two (B,): (B, count, size)."""
    steps = (torch.arange(count, device=start.device) + 0.5) / count
    places = torch.lerp(start.unsqueeze(1), end.unsqueeze(1), steps.to(start.dtype)) * size - 0.5
    places = places.clamp(0, size - 1)  # the border's entry outside
    entries = torch.arange(size, device=start.device)
    return (1 - (places.unsqueeze(2) - entries).abs()).clamp_min(0)

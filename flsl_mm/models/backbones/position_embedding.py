"""Fixed 2-D sine-cosine position embedding and its interpolation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config_error import ConfigError


def sincos_position_embedding(grid: tuple[int, int], embed_dims: int) -> Tensor:
    """Position table of a token grid, as released FLSL networks carry it.

    A quarter of the channels each holds sin(column), cos(column), sin(row) and cos(row), at
    frequencies ``10000 ** (-i / (embed_dims / 4))``. (mmpretrain's function of the same
    purpose has rows first, so its tables do not fit released weights.)

    Args:
        grid: Rows and columns of the token grid.
        embed_dims: Channels D, divisible by 4.

    Returns:
        Tensor: float32 of shape (1, rows * columns, D), tokens in row-major order.

    Raises:
        ConfigError: ``embed_dims`` is not divisible by 4.
    """
    if embed_dims % 4:
        raise ConfigError(
            f'a 2-D sin-cos embedding needs embed_dims divisible by 4, got {embed_dims}'
        )
    rows, columns = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in grid), indexing='ij'
    )
    quarter = embed_dims // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]  # 2 x (N, D/4)
    table = torch.cat([part for a in angles for part in (a.sin(), a.cos())], dim=1)
    return table.float().unsqueeze(0)


def interpolate_position_embedding(
    table: Tensor, grid: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Resample a position table to another token grid during the forward pass.

    Bicubic with scale factor ``(n + 0.1) / N`` per axis. The 0.1 is DINO's guard against rounding
    the output size down; it also shifts the sample points a little, so released weights are only
    reproduced with it.

    Args:
        table: (1, N, D) with ``N = grid[0] * grid[1]``.
        grid: Rows and columns of ``table``.
        target: Rows and columns wanted.

    Returns:
        Tensor: (1, target[0] * target[1], D), in the dtype of ``table``.
    """
    if grid == target:
        return table
    maps = table.unflatten(1, grid).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    scale = tuple((n + 0.1) / size for n, size in zip(target, grid))
    with torch.autocast(table.device.type, enabled=False):
        maps = F.interpolate(maps, scale_factor=scale, mode='bicubic', align_corners=False)
    return maps.flatten(2).transpose(1, 2)

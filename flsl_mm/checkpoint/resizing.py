"""Fitting the embeddings of a checkpoint to another image, patch or window size."""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from .checkpoint_error import CheckpointError

Grid = tuple[int, int]


def find_grid(rows: int, num_tokens: int, target: Grid | None) -> tuple[int, Grid | None]:
    """Tell the patch grid of a position table from its number of rows.

    Tables may start with rows of a class token and register tokens, whether or not the tokens
    themselves are in the file.

    Args:
        rows: Rows of the table.
        num_tokens: Class, distillation and register tokens in the file.
        target: Grid that is wanted; None where any will do.

    Returns:
        tuple: Number of prefix rows, and the grid; None for a grid that is unknown and not needed.

    Raises:
        CheckpointError: No reading or more than one fits.
    """
    if num_tokens == 0 and target is not None and rows == target[0] * target[1]:
        if target[0] == target[1] or isqrt(rows) ** 2 != rows:
            return 0, target
    readings = []
    for prefix in sorted({0, 1, num_tokens}):
        side = isqrt(max(rows - prefix, 0))
        grids = {(side, side)} if side else set()
        grids |= {target} if target is not None else set()
        readings += [(prefix, grid) for grid in grids if grid[0] * grid[1] == rows - prefix]
    if not readings and target is None and num_tokens == 0:
        return 0, None
    if len(readings) != 1:
        found = ' or '.join(f'{p} prefix rows and {g[0]} x {g[1]}' for p, g in readings)
        raise CheckpointError(
            f'pos_embed has {rows} rows: '
            + (f'ambiguous, {found} patches' if found else 'no square patch grid')
        )
    return readings[0]


def resize_position_embedding(table: Tensor, grid: Grid, target: Grid) -> Tensor:
    """Resample a position table (1, rows * columns, D) to the grid ``target``, bicubic."""
    maps = _wide(table).unflatten(1, grid).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    maps = F.interpolate(maps, size=target, mode='bicubic', align_corners=False)
    return maps.flatten(2).transpose(1, 2)


def resize_patch_embedding(kernel: Tensor, size: Grid) -> Tensor:
    """Resize a patch kernel (D, C, h, w) to ``size`` so that resized images keep their tokens.

    With ``R`` the (linear) bicubic resizing of a patch, the new kernel is the least-squares
    solution of ``<R x, new> = <x, kernel>`` (FlexiViT, Beyer et al. 2023, Section 3.4; timm does
    the same). Merely interpolating the kernel would change the tokens' magnitude with the number
    of pixels.
    """
    h, w = kernel.shape[-2:]
    basis = torch.eye(h * w, dtype=torch.float64).view(h * w, 1, h, w)
    resizing = F.interpolate(basis, size=size, mode='bicubic', antialias=True).flatten(1)
    new = kernel.double().flatten(2) @ torch.linalg.pinv(resizing).T  # (D, C, H * W)
    return new.unflatten(2, size).to(kernel.dtype)


def resize_relative_positions(table: Tensor, length: int) -> Tensor:
    """Resample relative positions (2 * window - 1, D) to ``length`` rows, linear."""
    rows = _wide(table).T.unsqueeze(0)  # (1, D, L)
    return F.interpolate(rows, size=length, mode='linear', align_corners=False)[0].T


def _wide(tensor: Tensor) -> Tensor:
    """In float32 at least, to interpolate."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

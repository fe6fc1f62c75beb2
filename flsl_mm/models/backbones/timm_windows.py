"""Windowed attention for blocks of timm's that were trained with global attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .relative_attention import merge_windows, partition_windows


class Windows:
    """Attention within windows of a grid, with all prefix tokens in each of them.

    A prefix token gets the mean over the windows. Places that fill an incomplete window up are no
    keys. With one window over the whole grid this is global attention.

    Args:
        grid: Rows and columns of the N patch tokens.
        size: Side of a window in tokens.
        prefix: Number P of prefix tokens, in front of the others.
        device: Where the tokens are.
        rope: Rotary positions (N, 2 d) of the whole grid, of which each window gets its own.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        size: int,
        prefix: int,
        device: torch.device,
        rope: Tensor | None = None,
    ) -> None:
        self.grid, self.size, self.prefix, self.rope, self.mask = grid, size, prefix, rope, None
        self.count = -(-grid[0] // size) * -(-grid[1] // size)
        if grid[0] % size or grid[1] % size:
            inside = partition_windows(torch.ones(1, *grid, 1, device=device), size).flatten(1) > 0
            self.mask = F.pad(inside, (prefix, 0), value=True)[:, None, None]  # (W, 1, 1, P + n)
        if rope is not None:
            parts = partition_windows(rope.unflatten(0, grid).unsqueeze(0), size)
            self.rope = parts.flatten(1, 2).unsqueeze(1)  # (W, 1, n, 2 d)

    def attend(self, attention: nn.Module, x: Tensor) -> Tensor:
        """Attention of timm's over tokens (B, P + N, D) in windows; as many come out."""
        batch, count = len(x), self.count
        prefix, patches = x[:, : self.prefix], x[:, self.prefix :].unflatten(1, self.grid)
        windows = partition_windows(patches, self.size).flatten(1, 2)  # (B * W, n, D)
        x = torch.cat([prefix.repeat_interleave(count, dim=0), windows], dim=1)
        options = {
            name: part.repeat(batch, 1, 1, 1)
            for name, part in (('rope', self.rope), ('attn_mask', self.mask))
            if part is not None
        }
        x = attention(x, **options)
        prefix = x[:, : self.prefix].unflatten(0, (batch, count)).mean(dim=1)
        windows = x[:, self.prefix :].unflatten(1, (self.size, self.size))
        return torch.cat([prefix, merge_windows(windows, self.grid).flatten(1, 2)], dim=1)


def windowed_block(block: nn.Module, windows: Windows, x: Tensor) -> Tensor:
    """A ``Block`` or ``EvaBlock`` of timm's on (B, P + N, D), with its attention in windows."""
    attended = windows.attend(block.attn, block.norm1(x))
    x = x + block.drop_path1(_layer_scale(block, 1, attended))
    return x + block.drop_path2(_layer_scale(block, 2, block.mlp(block.norm2(x))))


def _layer_scale(block: nn.Module, branch: int, x: Tensor) -> Tensor:
    """LayerScale of a branch, if there is one."""
    if hasattr(block, 'ls1'):
        return getattr(block, f'ls{branch}')(x)
    gamma = getattr(block, f'gamma_{branch}')
    return x if gamma is None else gamma * x

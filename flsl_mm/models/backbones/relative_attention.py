"""Windowed self-attention with decomposed relative positions."""

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor, nn

from ..layers.attention import BlockedAttention, position_bias, split_heads


class RelativeAttention(MultiheadAttention):
    """ViTDet's self-attention of a token grid, global or in windows.

    The logit of a query at (r, c) and a key at (r', c') is
    ``q.k / sqrt(d) + q.rel_pos_h[r - r'] + q.rel_pos_w[c - c']`` (Li et al. 2021, MViTv2, Eq. 4).
    A grid that windows do not tile is padded with zero tokens, which are keys like any other, as
    in ViTDet's released networks.

    Args:
        embed_dims: Width D.
        num_heads: Attention heads, a divisor of ``embed_dims``.
        table_size: Rows and columns of tokens that the tables ``rel_pos_h`` (2 * rows - 1, d) and
            ``rel_pos_w`` (2 * columns - 1, d) cover; linearly resized for other grids.
        window_size: Side of a window in tokens; 0 for global attention.
        drop_path_rate: Stochastic depth.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        table_size: tuple[int, int],
        window_size: int,
        drop_path_rate: float,
    ) -> None:
        drop_path = dict(type='DropPath', drop_prob=drop_path_rate)
        super().__init__(embed_dims, num_heads, dropout_layer=drop_path)
        self.window_size = window_size
        rows, columns = table_size
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * rows - 1, self.head_dims))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * columns - 1, self.head_dims))

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, H, W, D) to (B, H, W, D)."""
        size = x.shape[1:3]
        if self.window_size:
            x = self._attend(partition_windows(x, self.window_size))
            x = merge_windows(x, size)
        else:
            x = self._attend(x)
        return self.out_drop(self.proj(x))

    def _attend(self, x: Tensor) -> Tensor:
        """Multi-head attention within each grid of (B, H, W, D), before the projection."""
        rows, columns = x.shape[1:3]
        qkv = self.qkv(x).flatten(0, 2)
        rel_h = relative_positions(self.rel_pos_h, rows)
        rel_w = relative_positions(self.rel_pos_w, columns)
        return attend_relative(qkv, self.num_heads, rel_h, rel_w).view(x.shape)


def relative_positions(table: Tensor, length: int) -> Tensor:
    """Embedding of every (query, key) offset along one axis.

    Args:
        table: (L, d), offsets in ascending order; resized linearly unless L is 2 * length - 1.
        length: Tokens along the axis.

    Returns:
        Tensor: (length, length, d), query first.
    """
    length = int(length)  # while torch.jit traces, sizes are tensors
    if table.shape[0] != 2 * length - 1:
        table = F.interpolate(table.T.unsqueeze(0), size=2 * length - 1, mode='linear')[0].T
    position = torch.arange(length, device=table.device)
    return table[position[:, None] - position[None, :] + length - 1]


def attend_relative(qkv: Tensor, heads: int, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """Attention with decomposed relative positions and without an N x N matrix.

    Exact, not an approximation. On a GPU the bias is folded into the fused kernels' dot product
    (:func:`attend_folded`). The CPU's kernel pays too much for the extra channels; there blocks of
    queries are attended one after the other (:class:`BlockedAttention`).

    Args:
        qkv: Queries, keys and values (B * N, 3 * D) of grids with N = H * W tokens, row-major.
        heads: Number of heads, a divisor of D.
        rel_h: Row offsets (H, H, D / heads), query first.
        rel_w: Column offsets (W, W, D / heads), query first.

    Returns:
        Tensor: (B * N, D).
    """
    rel_h, rel_w = rel_h.to(qkv.dtype), rel_w.to(qkv.dtype)
    if not qkv.is_cpu or torch.jit.is_tracing():  # which knows no autograd functions of our own
        return attend_folded(qkv, heads, rel_h, rel_w)
    tokens = len(rel_h) * len(rel_w)
    return BlockedAttention.apply(qkv, [(len(qkv) // tokens, tokens)], heads, rel_h, rel_w)


def attend_folded(qkv: Tensor, heads: int, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """:func:`attend_relative` with the relative positions as channels of queries and keys.

    The bias of a query depends on the key's row and on its column only: H + W numbers. They become
    extra query channels, and the keys get the one-hot codes of their row and column, so that one
    dot product ``[q / sqrt(d), q.rel_h, q.rel_w] . [k, onehot(row), onehot(column)]`` is the whole
    logit, and memory-efficient kernels apply. Arguments and result as there.
    """
    rows, columns, dims = len(rel_h), len(rel_w), rel_h.shape[-1]
    tokens = rows * columns
    batch = len(qkv) // tokens
    [(q, k, v)] = split_heads(qkv, [(batch, tokens)], heads, 3)
    by_row, by_column = position_bias(q, rel_h, rel_w)
    # Fast kernels want equally many channels in q, k and v, a multiple of 8.
    blank = q.new_zeros(tokens, -(dims + rows + columns) % 8)
    row = torch.eye(rows, dtype=q.dtype, device=q.device).repeat_interleave(columns, dim=0)
    column = torch.eye(columns, dtype=q.dtype, device=q.device).repeat(rows, 1)
    codes = torch.cat([row, column, blank], dim=1)  # (N, H + W + blank)
    q = torch.cat([q * dims**-0.5, by_row, by_column, blank.expand(batch, heads, -1, -1)], dim=-1)
    k = torch.cat([k, codes.expand(batch, heads, -1, -1)], dim=-1)
    v = F.pad(v, (0, codes.shape[1]))
    out = F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :dims]
    return out.transpose(1, 2).reshape(len(qkv), heads * dims)


def partition_windows(x: Tensor, window: int) -> Tensor:
    """Cut a zero-padded grid (B, H, W, D) into (B * windows, window, window, D)."""
    batch, height, width, dims = map(int, x.shape)
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    x = x.view(batch, x.shape[1] // window, window, x.shape[2] // window, window, dims)
    return x.transpose(2, 3).reshape(-1, window, window, dims)


def merge_windows(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo :func:`partition_windows`: back to a grid (B, H, W, D) of H, W = ``size``."""
    window, dims = int(x.shape[1]), int(x.shape[3])
    rows, columns = (-(-int(side) // window) for side in size)
    x = x.view(-1, rows, columns, window, window, dims).transpose(2, 3)
    return x.reshape(-1, rows * window, columns * window, dims)[:, : size[0], : size[1]]

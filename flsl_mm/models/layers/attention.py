"""Attention for the CPU, a block of logits at a time."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compile import is_compiling

# Logits in memory at once. A block passes through the same few operations many times, so it should
# stay in the cache that cores share, but be large enough to divide among them: 8 MiB in float32.
BLOCK = 2**21

Groups = Sequence[tuple[int, int]]  # images, and tokens of each


def attend(qkv: Tensor, groups: Groups, heads: int, dropout: float = 0.0) -> Tensor:
    """``softmax(q k^T / sqrt(d)) v`` by the fastest means that keep no N x N matrix.

    Args:
        qkv: Packed tokens (T, 3 * D), channels in the order (query, key, value) x heads x d.
        groups: What the T tokens are: images, and tokens of each, of one view size after the other.
            Tokens attend to those of their own image.
        heads: Number of heads, a divisor of D.
        dropout: Probability with which an attention weight is dropped.

    Returns:
        Tensor: (T, D).
    """
    blocked = qkv.is_cpu and qkv.dtype == torch.bfloat16 and not is_compiling()
    if blocked and not dropout:
        return BlockedAttention.apply(qkv, groups, heads)
    outs = []
    for q, k, v in split_heads(qkv, groups, heads, 3):
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        outs.append(out.transpose(1, 2).flatten(0, 1).flatten(1))
    return torch.cat(outs)


def split_heads(x: Tensor, groups: Groups, heads: int, parts: int) -> list[Tensor]:
    """View packed tokens (T, parts * heads * d) as (parts, images, heads, N, d), group by group."""
    pieces = x.split([images * tokens for images, tokens in groups])
    dims = x.shape[1] // (parts * heads)
    return [
        piece.view(*group, parts, heads, dims).permute(2, 0, 3, 1, 4)
        for piece, group in zip(pieces, groups)
    ]


class BlockedAttention(torch.autograd.Function):
    """``softmax(q k^T / sqrt(d) + bias) v`` without an N x N matrix in memory.

    For the CPU, whose fused kernel knows no decomposed bias and, in bfloat16, is slower than
    separate matrix products. Keeps only its inputs for the backward pass, which computes the
    attention of each block again: one matrix product more than with the N x N matrices kept, and
    much less memory traffic. Same results up to rounding.
    """

    @staticmethod
    def forward(
        ctx,
        qkv: Tensor,
        groups: Groups,
        heads: int,
        rel_h: Tensor | None = None,
        rel_w: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            ctx: Autograd's.
            qkv: Packed queries, keys and values (T, 3 * D), as for :func:`attend`.
            groups: Images, and tokens of each.
            heads: Number of heads.
            rel_h: None, or embeddings of row offsets for :func:`position_bias`.
            rel_w: The same of column offsets.

        Returns:
            Tensor: (T, D).
        """
        positions = () if rel_h is None else (rel_h, rel_w)
        ctx.save_for_backward(qkv, *positions)
        ctx.groups, ctx.heads = groups, heads
        out = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        with torch.autocast(qkv.device.type, enabled=False):
            for source, target in _pieces(groups, heads, (qkv, 3), (out, 1)):
                q, k, v = _matrices(source)
                bias = position_bias(q, *positions) if positions else None
                for rows in _rows(q):
                    _fill(target[0], rows, _weights(q, k, bias, rows) @ v)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of what :meth:`forward` takes."""
        qkv, *positions = ctx.saved_tensors
        grad_qkv = torch.empty_like(qkv)
        sums = [torch.zeros_like(x, dtype=_exact(qkv)) for x in positions]
        tensors = (qkv, 3), (grad, 1), (grad_qkv, 3)
        with torch.autocast(qkv.device.type, enabled=False):
            for source, grads, target in _pieces(ctx.groups, ctx.heads, *tensors):
                found = _gradients(*_matrices(source), *_matrices(grads), positions)
                for into, value in zip(target, found):
                    _fill(into, slice(None), value)
                for total, value in zip(sums, found[3:]):
                    total += value
        through_positions = [x.to(qkv.dtype) for x in sums] or [None, None]
        return grad_qkv, None, None, *through_positions


def position_bias(q: Tensor, rel_h: Tensor, rel_w: Tensor) -> tuple[Tensor, Tensor]:
    """What the position of a key adds to a query's logit: by the key's row, and by its column.

    Args:
        q: Queries (..., N, d) of a grid with N = H * W tokens, row-major.
        rel_h: Row offsets (H, H, d), query first.
        rel_w: Column offsets (W, W, d), query first.

    Returns:
        tuple[Tensor, Tensor]: (..., N, H) and (..., N, W).
    """
    grid = q.unflatten(-2, (rel_h.shape[0], rel_w.shape[0]))
    by_row = torch.einsum('...hwd,hkd->...hwk', grid, rel_h)
    by_column = torch.einsum('...hwd,wkd->...hwk', grid, rel_w)
    return by_row.flatten(-3, -2), by_column.flatten(-3, -2)


def _exact(x: Tensor) -> torch.dtype:
    """What sums over blocks are held in: float32 at least."""
    return torch.promote_types(x.dtype, torch.float32)


def _pieces(groups: Groups, heads: int, *tensors: tuple[Tensor, int]) -> Iterator[list[Tensor]]:
    """Views (parts, images, heads, N, d) of some images and heads of each of ``tensors``.

    As many together as make one block of logits: with few tokens several images, with more some
    heads of one, with many one head. ``tensors`` are packed tokens (T, parts * D), each with the
    number of its parts.
    """
    split = (split_heads(x, groups, heads, parts) for x, parts in tensors)
    for (images, tokens), *views in zip(groups, *split):
        images_together = max(BLOCK // (heads * tokens**2), 1)
        heads_together = max(BLOCK // tokens**2, 1)
        for b in range(0, images, images_together):
            for h in range(0, heads, heads_together):
                yield [x[:, b : b + images_together, h : h + heads_together] for x in views]


def _matrices(views: Tensor) -> Tensor:
    """(parts, images, heads, N, d) to (parts, images * heads, N, d), each matrix in one piece.

    As parts of the rows of one projection, a matrix's rows would lie on a page of memory each.
    """
    return views.contiguous().flatten(1, 2)


def _fill(views: Tensor, rows: slice, values: Tensor) -> None:
    """Write (images * heads, rows, d) to those rows of (images, heads, N, d)."""
    views[:, :, rows] = values.unflatten(0, views.shape[:2])


def _rows(q: Tensor) -> list[slice]:
    """Cut the queries of (images * heads, N, d) so that a cut has ``BLOCK`` logits, or one row."""
    matrices, tokens, _ = q.shape
    length = max(BLOCK // (matrices * tokens), 1)
    return [slice(i, i + length) for i in range(0, tokens, length)]


def _weights(q: Tensor, k: Tensor, bias: tuple[Tensor, Tensor] | None, rows: slice) -> Tensor:
    """Attention of some rows of q: (images * heads, rows, N), each row's sum 1."""
    scale = q.shape[-1] ** -0.5
    queries, keys = q[:, rows], k.transpose(1, 2)
    if bias is None:
        logits = q.new_empty(len(q), queries.shape[1], keys.shape[2])  # not read: beta is 0
    else:
        by_row, by_column = (x[:, rows] for x in bias)
        logits = (by_row.unsqueeze(-1) + by_column.unsqueeze(-2)).flatten(-2)
    beta = 0 if bias is None else 1
    return logits.baddbmm_(queries, keys, beta=beta, alpha=scale).softmax(dim=-1)


def _gradients(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, positions: Sequence[Tensor]
) -> list[Tensor]:
    """Gradients of q, k, v and ``positions``, from that of the attention's output.

    All but ``positions`` are (images * heads, N, d).
    """
    if positions:
        inputs = [x.detach().requires_grad_() for x in (q, *positions)]
        with torch.enable_grad():
            bias_with_graph = position_bias(*inputs)
        bias = [x.detach() for x in bias_with_graph]
        grad_bias = [torch.empty_like(x) for x in bias]
    else:
        bias = None
    slices = _rows(q)
    grad_q = torch.empty_like(q)
    # Sums over several slices: not in bfloat16. They are kept as (d, N), for (d, rows) times
    # (rows, N) is the faster product.
    sums = q.new_zeros(2, len(q), q.shape[2], q.shape[1], dtype=_exact(q)) if slices[1:] else None
    for rows in slices:
        weights = _weights(q, k, bias, rows)
        grad_logits = torch._softmax_backward_data(
            grad[:, rows] @ v.transpose(1, 2), weights, -1, q.dtype
        )
        grad_q[:, rows] = grad_logits @ k
        if sums is None:
            grad_k, grad_v = grad_logits.transpose(1, 2) @ q, weights.transpose(1, 2) @ grad
        else:
            _add_product(sums[0], q[:, rows].transpose(1, 2), grad_logits)
            _add_product(sums[1], grad[:, rows].transpose(1, 2), weights)
        if positions:
            by_row, by_column = (x[:, rows] for x in grad_bias)
            grid = grad_logits.unflatten(-1, (by_row.shape[-1], by_column.shape[-1]))
            by_row[:] = grid.sum(-1)
            by_column[:] = grid.sum(-2)
    if sums is not None:
        grad_k, grad_v = sums.transpose(2, 3)
    scale = q.shape[-1] ** -0.5
    found = [grad_q.mul_(scale), grad_k.mul_(scale), grad_v]
    if not positions:
        return found
    through_q, *through_positions = torch.autograd.grad(bias_with_graph, inputs, grad_bias)
    return [grad_q.add_(through_q), *found[1:], *through_positions]


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right``, each a batch of matrices, to ``total``."""
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total.add_(left @ right)

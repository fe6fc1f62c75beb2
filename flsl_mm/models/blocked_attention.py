"""Attention for the CPU, a block of logits at a time."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .compiled import is_compiling

# Logits in memory at once. A block passes through the same few operations many times, so it should
# stay in the cache that cores share, but be large enough to divide among them: 8 MiB in float32.
BLOCK = 2**21

Block = tuple[slice, slice, slice]  # some images, some of their heads, some of their queries


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """``softmax(q k^T / sqrt(d)) v`` by the fastest means that keep no N x N matrix.

    Args:
        q: Queries (B, heads, N, d).
        k: Keys (B, heads, N, d).
        v: Values (B, heads, N, d).
        dropout: Probability with which an attention weight is dropped.

    Returns:
        Tensor: (B, heads, N, d).
    """
    blocked = q.is_cpu and q.dtype == torch.bfloat16 and not is_compiling()
    if blocked and not dropout:
        return BlockedAttention.apply(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


class BlockedAttention(torch.autograd.Function):
    """``softmax(q k^T / sqrt(d) + bias) v`` without an N x N matrix in memory.

    For the CPU, whose fused kernel knows no decomposed bias and, in bfloat16, is slower than
    separate matrix products. Keeps only q, k, v and the embeddings of the offsets for the backward
    pass, which computes the attention of each block again: one matrix product more than with the
    N x N matrices kept, and much less memory traffic. Same results up to rounding.
    """

    @staticmethod
    def forward(
        ctx,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rel_h: Tensor | None = None,
        rel_w: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            ctx: Autograd's.
            q: Queries (B, heads, N, d).
            k: Keys (B, heads, N, d).
            v: Values (B, heads, N, d).
            rel_h: None, or embeddings of row offsets for :func:`position_bias`.
            rel_w: The same of column offsets.

        Returns:
            Tensor: (B, heads, N, d), laid out in memory as (B, N, heads, d).
        """
        positions = () if rel_h is None else (rel_h, rel_w)
        # Each head's (N, d) in one piece of memory: as parts of the rows of one projection, its
        # rows would lie on a page each. Kept so, as the projection itself then need not be kept.
        q, k, v = (x.contiguous() for x in (q, k, v))
        ctx.save_for_backward(q, k, v, *positions)
        batch, heads, tokens, dims = q.shape
        out = q.new_empty(batch, tokens, heads, dims).transpose(1, 2)
        with torch.autocast(q.device.type, enabled=False):
            bias = position_bias(q, *positions) if positions else None
            for block in _blocks(q.shape):
                b, h, i = block
                values = _weights(q, k, bias, block) @ v[b, h].flatten(0, 1)
                out[block] = values.view_as(out[block])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of what :meth:`forward` takes."""
        q, k, v, *positions = ctx.saved_tensors
        if positions:
            inputs = [x.detach().requires_grad_() for x in (q, *positions)]
            with torch.enable_grad():
                bias_with_graph = position_bias(*inputs)
            bias = [x.detach() for x in bias_with_graph]
            grad_bias = [torch.empty_like(x) for x in bias]
        else:
            bias, grad_bias = None, None
        grads = _backward_in_blocks(q, k, v, grad.contiguous(), bias, grad_bias)
        if not positions:
            return *grads, None, None
        through_bias = torch.autograd.grad(bias_with_graph, inputs, grad_bias)
        return grads[0].add_(through_bias[0]), *grads[1:], *through_bias[1:]


def position_bias(q: Tensor, rel_h: Tensor, rel_w: Tensor) -> tuple[Tensor, Tensor]:
    """What the position of a key adds to a query's logit: by the key's row, and by its column.

    Args:
        q: Queries (B, heads, N, d) of a grid with N = H * W tokens, row-major.
        rel_h: Row offsets (H, H, d), query first.
        rel_w: Column offsets (W, W, d), query first.

    Returns:
        tuple[Tensor, Tensor]: (B, heads, N, H) and (B, heads, N, W).
    """
    grid = q.unflatten(2, (rel_h.shape[0], rel_w.shape[0]))
    by_row = torch.einsum('bnhwd,hkd->bnhwk', grid, rel_h)
    by_column = torch.einsum('bnhwd,wkd->bnhwk', grid, rel_w)
    return by_row.flatten(2, 3), by_column.flatten(2, 3)


def _blocks(shape: torch.Size) -> Iterator[Block]:
    """Cut queries of shape (B, heads, N, d) into blocks with at most ``BLOCK`` logits.

    Small images share a block; of large ones heads, and then queries, get blocks of their own.
    """
    batch, heads, tokens, _ = shape
    images = min(max(BLOCK // (heads * tokens**2), 1), batch)
    together = min(max(BLOCK // tokens**2, 1), heads)
    length = min(max(BLOCK // (together * tokens), 1), tokens)
    for b in range(0, batch, images):
        for h in range(0, heads, together):
            for i in range(0, tokens, length):
                yield slice(b, b + images), slice(h, h + together), slice(i, i + length)


def _weights(q: Tensor, k: Tensor, bias: tuple[Tensor, Tensor] | None, block: Block) -> Tensor:
    """Attention of a block's queries: (images * heads, queries, N), rows summing to 1."""
    b, h, i = block
    scale = q.shape[-1] ** -0.5
    queries, keys = q[block].flatten(0, 1), k[b, h].flatten(0, 1).transpose(1, 2)
    if bias is None:
        logits = q.new_empty(len(queries), queries.shape[1], keys.shape[2])  # not read: beta is 0
    else:
        by_row, by_column = (x[block].flatten(0, 1) for x in bias)
        logits = (by_row.unsqueeze(-1) + by_column.unsqueeze(-2)).flatten(-2)
    beta = 0 if bias is None else 1
    return logits.baddbmm_(queries, keys, beta=beta, alpha=scale).softmax(dim=-1)


def _backward_in_blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grad: Tensor,
    bias: tuple[Tensor, Tensor] | None,
    grad_bias: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q (not through the bias), k and v; fills ``grad_bias``."""
    # Sums over several blocks of queries: not in bfloat16. Transposed, as (d, block) times
    # (block, N) is a faster product than (N, block) times (block, d).
    exact = torch.promote_types(q.dtype, torch.float32)
    grad_q = torch.empty_like(q)
    batch, heads, tokens, dims = q.shape
    grad_k, grad_v = q.new_zeros(2, batch, heads, dims, tokens, dtype=exact)
    for block in _blocks(q.shape):
        b, h, i = block
        queries, keys, values, grads = (
            x.flatten(0, 1) for x in (q[block], k[b, h], v[b, h], grad[block])
        )
        weights = _weights(q, k, bias, block)
        grad_logits = torch._softmax_backward_data(
            grads @ values.transpose(1, 2), weights, -1, q.dtype
        )
        grad_q[block] = (grad_logits @ keys).view(q[block].shape)
        _add_product(grad_k[b, h], queries.transpose(1, 2), grad_logits)
        _add_product(grad_v[b, h], grads.transpose(1, 2), weights)
        if grad_bias is not None:
            by_row, by_column = grad_bias
            grid = grad_logits.view(*by_row[block].shape, by_column.shape[-1])
            by_row[block] = grid.sum(-1)
            by_column[block] = grid.sum(-2)
    scale = q.shape[-1] ** -0.5
    grad_k, grad_v = grad_k.mul_(scale).transpose(2, 3), grad_v.transpose(2, 3)
    return grad_q.mul_(scale), grad_k.to(k.dtype), grad_v.to(v.dtype)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right``, of (images * heads) matrices, to ``total`` (images, heads, ., .)."""
    total = total.view(-1, *total.shape[2:])
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total.add_(left @ right)

"""Residual branches that are left out for some images."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .attention import Groups
from .compile import is_compiling


def add_branch(
    x: Tensor, branch: Callable[[Tensor, Groups], Tensor], drop_path: nn.Module, groups: Groups
) -> Tensor:
    """A residual branch with stochastic depth: an image's tokens are kept or dropped together.

    On a CPU the branch is computed for the kept images only. On a GPU their number would have to
    be waited for, so there the branch is masked; the result is the same.

    Args:
        x: Packed tokens (T, D).
        branch: Takes some images' tokens and their groups, returns as many tokens.
        drop_path: Has the ``drop_prob``; without it, or not training, nothing is dropped.
        groups: What the T tokens are: images, and tokens of each, of one view size after the other.

    Returns:
        Tensor: ``x`` plus the branch, (T, D), in the number format of ``x``.
    """
    rate = getattr(drop_path, 'drop_prob', 0.0)
    if not drop_path.training or not rate:
        return x + branch(x, groups).to(x.dtype)
    keep = 1 - rate
    parts = draw_kept([batch for batch, _ in groups], keep, x.device)
    mask = torch.cat(
        [part.unsqueeze(1).expand(-1, n).flatten() for part, (_, n) in zip(parts, groups)]
    )
    sparse = x.is_cpu and not is_compiling()
    kept = [(int(part.sum()), n) for part, (_, n) in zip(parts, groups)] if sparse else []
    if not any(batch for batch, _ in kept):  # each parameter takes part, as distributed models want
        return x + (branch(x, groups) / keep * mask.unsqueeze(1).to(x.dtype)).to(x.dtype)
    rows = mask.nonzero().squeeze(1)
    # Its gradient adds rows; that of `x[rows]` sorts the indices first.
    out = branch(x.index_select(0, rows), [group for group in kept if group[0]])
    return AddToRows.apply(x, rows, out, 1 / keep)


def draw_kept(sizes: Sequence[int], keep: float, device: torch.device) -> list[Tensor]:
    """Which images stochastic depth keeps: always as many, but for one, and any of them.

    Each image is kept with probability ``keep``. Independent draws would have tensors of many sizes
    computed for the kept images, between which a CPU's memory comes to lie in pieces.

    Args:
        sizes: Numbers of images of each view size.
        keep: Probability, in [0, 1].
        device: Where to draw.

    Returns:
        list[Tensor]: True for kept, of shape (images,), of each view size.
    """
    # What is rounded down in one view size counts in the next, so that the sum is as equal too.
    start = torch.rand((), device=device)
    marks = [(count * keep + start).floor() for count in (0, *accumulate(sizes))]
    return [
        torch.randperm(size, device=device) < high - low
        for size, low, high in zip(sizes, marks, marks[1:])
    ]


class AddToRows(torch.autograd.Function):
    """``x.index_add(0, rows, factor * values)``, which keeps nothing but ``rows``."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor, values: Tensor, factor: float) -> Tensor:
        """Add to ``rows`` (R,), no two alike, of ``x`` (T, D) the ``values`` (R, D).

        The factor is not rounded to the number format of ``x``, as by ``alpha`` it would be: in
        bfloat16 that may be 0.2 % off, for all elements alike.
        """
        ctx.save_for_backward(rows)
        ctx.factor, ctx.dtype = factor, values.dtype
        return x.index_add(0, rows, (values * factor).to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and of the values."""
        (rows,) = ctx.saved_tensors
        return grad, None, grad.index_select(0, rows).to(ctx.dtype) * ctx.factor, None

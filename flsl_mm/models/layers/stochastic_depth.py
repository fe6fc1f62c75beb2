"""Residual branches that are left out for some images."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...utils.devices import send
from .attention import Groups
from .compile import is_compiling


class Kept(NamedTuple):
    """The tokens that one residual branch is added to; the others stay as they are.

    Attributes:
        factor: What the branch is multiplied with there: 1 / (1 - drop rate).
        rows: Which of the packed tokens they are (R,), ascending; None where a mask says so.
        groups: What these are: images, and tokens of each, of one view size after the other.
        mask: (T, 1), true for kept; None where ``rows`` says so.
    """

    factor: float
    rows: Tensor | None
    groups: Groups
    mask: Tensor | None


def add_branch(
    x: Tensor, branch: Callable[[Tensor, Groups], Tensor], groups: Groups, kept: Kept | None = None
) -> Tensor:
    """A residual branch with stochastic depth: an image's tokens are kept or dropped together.

    Args:
        x: Packed tokens (T, D).
        branch: Takes some images' tokens and their groups, returns as many tokens.
        groups: What the T tokens are: images, and tokens of each, of one view size after the other.
        kept: Whose branch is added; None for all.

    Returns:
        Tensor: ``x`` plus the branch, (T, D), in the number format of ``x``.
    """
    if kept is None:
        return x + branch(x, groups).to(x.dtype)
    if kept.rows is None:
        return x + (branch(x, groups) * kept.factor * kept.mask.to(x.dtype)).to(x.dtype)
    # Its gradient adds rows; that of `x[rows]` sorts the indices first.
    out = branch(x.index_select(0, kept.rows), kept.groups)
    return AddToRows.apply(x, kept.rows, out, kept.factor)


def drop_rate(drop_path: nn.Module) -> float:
    """Share of the images that it drops now: 0 outside training."""
    return drop_path.drop_prob if drop_path.training else 0.0


def draw_branches(rates: Sequence[float], sizes: Sequence[int]) -> Tensor | None:
    """Which images every branch keeps, from torch's global CPU generator.

    Drawn for all branches before the pass, on the host: it then knows how many tokens each branch
    is computed for, on a GPU too, which nobody has to wait for.

    Args:
        rates: Of each branch, the share of the images that it drops.
        sizes: Numbers of images of each view size.

    Returns:
        Tensor | None: True for kept, (branches, images) on the CPU; None where all are.
    """
    if not any(rates):
        return None
    return torch.stack(
        [
            torch.cat(draw_kept(sizes, 1 - rate)) if rate else torch.ones(sum(sizes), dtype=bool)
            for rate in rates
        ]
    )


def plan_branches(
    kept: Tensor | None, rates: Sequence[float], groups: Groups, device: torch.device
) -> list[Kept | None]:
    """What :func:`add_branch` needs for every branch, sent to the device in one transfer.

    Args:
        kept: What :func:`draw_branches` gave. On the CPU, the branches are computed for the kept
            images only; on another device, where the host does not know their number, and in
            compiled code, whose shapes are static, they are masked. The results are the same.
        rates: Of each branch, as drawn for.
        groups: Images, and tokens of each.
        device: Where the tokens are.

    Returns:
        list[Kept | None]: Of each branch; None where all images are kept.
    """
    if kept is None:
        return [None] * len(rates)
    images = kept.split([batch for batch, _ in groups], dim=1)
    lengths = [length for _, length in groups]
    mask = torch.cat(  # (branches, T)
        [part.unsqueeze(2).expand(-1, -1, n).flatten(1) for part, n in zip(images, lengths)], dim=1
    )
    sparse = kept.is_cpu and not is_compiling()
    if sparse:
        counts = torch.stack([part.sum(1) for part in images], dim=1).tolist()
        rows = send(mask.nonzero()[:, 1].int(), device).split(mask.sum(1).tolist())
    else:
        mask = mask.to(device, non_blocking=True).unsqueeze(2)
    plans: list[Kept | None] = []
    for i, rate in enumerate(rates):
        factor = 1 / (1 - rate)
        if not rate:
            plans.append(None)
        elif not sparse:
            plans.append(Kept(factor, None, groups, mask[i]))
        elif len(rows[i]):
            here = [(count, n) for count, n in zip(counts[i], lengths) if count]
            plans.append(Kept(factor, rows[i], here, None))
        else:  # each parameter takes part, as distributed models want
            nothing = torch.zeros(mask.shape[1], 1, dtype=torch.bool, device=device)
            plans.append(Kept(factor, None, groups, nothing))
    return plans


def draw_kept(sizes: Sequence[int], keep: float) -> list[Tensor]:
    """Which images stochastic depth keeps: always as many, but for one, and any of them.

    Each image is kept with probability ``keep``. Independent draws would have tensors of many sizes
    computed for the kept images, between which a CPU's memory comes to lie in pieces.

    Args:
        sizes: Numbers of images of each view size.
        keep: Probability, in [0, 1].

    Returns:
        list[Tensor]: True for kept, of shape (images,), of each view size.
    """
    # What is rounded down in one view size counts in the next, so that the sum is as equal too.
    start = torch.rand(())
    marks = [(count * keep + start).floor() for count in (0, *accumulate(sizes))]
    return [torch.randperm(size) < high - low for size, low, high in zip(sizes, marks, marks[1:])]


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

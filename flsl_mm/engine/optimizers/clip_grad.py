"""Gradient clipping, each parameter by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def clip_grad_norm_per_parameter_(parameters: Sequence[Tensor], max_norm: float) -> None:
    """Scale every gradient in place so that its own L2 norm is at most ``max_norm``.

    The recipe of DINO and FLSL: unlike :func:`torch.nn.utils.clip_grad_norm_`, a large gradient
    of one parameter leaves the others alone. Needs no host synchronization.

    Args:
        parameters: Parameters; those without gradient are left out.
        max_norm: Upper bound of the norm of each gradient.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return
    norms = torch.stack(torch._foreach_norm(grads))
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(grads, list(factors.unbind()))

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
    if grads[0].is_cpu:
        torch._foreach_mul_(grads, list(factors.unbind()))
    else:
        _scale_together(grads, factors)


def _scale_together(grads: Sequence[Tensor], factors: Tensor) -> None:
    """Multiply each gradient with its own factor (G,), in a few calls.

    ``_foreach_mul_`` of tensors of other shapes is a call for each, and a GPU waits for the host
    to make some 150 of them.
    """
    sizes = [grad.numel() for grad in grads]
    each = torch.cat([factor.expand(size) for factor, size in zip(factors.unbind(), sizes)])
    scaled = torch.cat([grad.flatten() for grad in grads]).mul_(each)
    torch._foreach_copy_(
        grads, [part.view_as(grad) for part, grad in zip(scaled.split(sizes), grads)]
    )

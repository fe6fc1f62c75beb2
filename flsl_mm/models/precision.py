"""Number formats of mixed precision."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or in float64 if it is."""
    return x if x.dtype == torch.float64 else x.float()


def in_bfloat16_if_autocast_is(x: Tensor) -> Tensor:
    """``x``, in bfloat16 where autocast computes matrix products so.

    For sums that autocast leaves in float32, such as the residual stream of a transformer: every
    matrix product rounds its input to bfloat16 anyway. Not for float16, whose range is too small
    for the large activations of trained transformers. Torch before 2.4 gets ``x`` as it is.
    """
    if not hasattr(torch, 'get_autocast_dtype'):
        return x
    device = x.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16:
        return x.bfloat16()
    return x

"""Number formats of mixed precision."""

import torch
from torch import Tensor


def residual_stream(x: Tensor) -> Tensor:
    """Float32 ``x``, in bfloat16 where autocast computes matrix products so.

    Autocast leaves sums such as the residual stream of a transformer in float32. In bfloat16 they
    move half the memory, and are rounded block after block. ViT-S/16, trained for 400 iterations,
    relative error against float32 of the losses' gradient: 1.05 % with a float32 stream, 1.18 %
    with this one (random weights: 0.60 and 0.66 %; a random ViT-Ti's median parameter, for the sum
    of its tokens: 0.4 and 0.9 %).

    Not for float16, whose range is too small for the large activations of trained transformers.
    Torch before 2.4 gets ``x`` as it is.
    """
    if x.dtype != torch.float32 or not hasattr(torch, 'get_autocast_dtype'):
        return x
    device = x.device.type
    enabled = device != 'meta' and torch.is_autocast_enabled(device)
    return x.bfloat16() if enabled and torch.get_autocast_dtype(device) == torch.bfloat16 else x

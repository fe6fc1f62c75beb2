"""Number formats of mixed precision."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .compile import is_compiling


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether autocast computes matrix products so; False for torch before 2.4."""
    kind = device.type
    if kind == 'meta' or not hasattr(torch, 'get_autocast_dtype'):
        return False
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16


@cache
def warn_of_emulation(device_type: str) -> None:
    """Say, once a process, that a CPU has no instructions for bfloat16.

    Measured with the small ViT of photographs (batch 16, one core with AVX2 alone): 7.7 s a step,
    0.54 s in float32.
    """
    if device_type == 'cpu' and not computes_bfloat16_natively():
        print_log(
            'bfloat16: this CPU has no instructions for it, and may take ten times as long as in '
            'float32, the default',
            logger='current',
            level=logging.WARNING,
        )


def computes_bfloat16_natively() -> bool:
    """Whether torch has matrix products in bfloat16 for this CPU (AVX-512 or AMX, or ARM's)."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
    if x.dtype != torch.float32 or not computes_in_bfloat16(x.device):
        return x
    return x.bfloat16()


class Affine(NamedTuple):
    """Weight and bias of a linear layer or a LayerNorm, in the number format of the products.

    Attributes:
        weight: The weight.
        bias: The bias, or None.
        normalized_shape: Of a LayerNorm.
        eps: Of a LayerNorm.
    """

    weight: Tensor
    bias: Tensor | None
    normalized_shape: Sequence[int] = ()
    eps: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the linear layer."""
        return F.linear(x, self.weight, self.bias)


def cast_layers(layers: Sequence[nn.Module], x: Tensor) -> Sequence[nn.Module | Affine]:
    """Linear layers and LayerNorms of one block, their parameters cast in one call.

    Autocast casts each by itself, forward and backward: some 400 calls in a step of ViT-S, which a
    GPU waits for. The values are the same.

    Args:
        layers: The layers.
        x: What they are for: bfloat16 on another device than a CPU; else, and in compiled code,
            the layers themselves come back.
    """
    parameters = [p for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    if (
        x.is_cpu
        or x.dtype != torch.bfloat16
        or is_compiling()
        or any(p.dtype != torch.float32 for p in parameters)
    ):
        return layers
    cast = iter(CastTogether.apply(*parameters))
    return [
        Affine(
            next(cast),
            None if layer.bias is None else next(cast),
            *((layer.normalized_shape, layer.eps) if isinstance(layer, nn.LayerNorm) else ()),
        )
        for layer in layers
    ]


class CastTogether(torch.autograd.Function):
    """Float32 tensors in bfloat16, and their gradients back, in one call each."""

    @staticmethod
    def forward(ctx, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Cast."""
        ctx.set_materialize_grads(False)
        return _copies(tensors, torch.bfloat16)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Cast back those that there are."""
        found = iter(_copies([grad for grad in grads if grad is not None], torch.float32))
        return tuple(None if grad is None else next(found) for grad in grads)


def _copies(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = [torch.empty_like(x, dtype=dtype) for x in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return tuple(copies)

"""Linear layers that do not keep their input."""

from collections.abc import Callable

import torch
from torch import Tensor

from .compile import is_compiling


def linear_of(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    linear: Callable[[Tensor], Tensor],
    recompute: bool = True,
) -> Tensor:
    """``linear(function(x))``, of which the backward pass computes ``function(x)`` again.

    For functions that are cheap next to the layer, and keep ``x`` for their own gradient anyway,
    as GELU and LayerNorm do: their output is then not kept. Same results.

    Args:
        function: Without randomness. (One that works in place is not computed again.)
        x: What it takes, such as tokens (T, D).
        linear: The layer. Compiled, it is left to the compiler what to keep.
        recompute: False keeps the output as usual.

    Returns:
        Tensor: Like ``function(x)``, with the layer's channels; first derivatives only.
    """
    inputs = function(x)
    if not recompute or is_compiling() or not torch.is_grad_enabled():
        return linear(inputs)
    if inputs.data_ptr() == x.data_ptr():  # in place
        return linear(inputs)
    source, output = x.detach(), (inputs.data_ptr(), inputs.shape)

    def pack(saved: Tensor) -> Tensor | None:
        return None if (saved.data_ptr(), saved.shape) == output else saved

    def unpack(packed: Tensor | None) -> Tensor:
        if packed is not None:
            return packed
        if torch.is_grad_enabled():
            raise RuntimeError('linear_of has first derivatives only')
        return function(source)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return linear(inputs)

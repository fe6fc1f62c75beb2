"""A GPU that is not there: shapes, devices and types of what would run on one, and no values."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

DEVICE = torch.device('cuda', 0)
_NO_KERNEL = (
    'prim.',
    'aten.empty',
    'aten.new_empty',
    'aten.detach',
    'aten._unsafe_view',
    'aten.lift_fresh',
)
_INDEXING = 'aten.index.', 'aten.index_put'
NUMBER, READ, WRITE = 'a number', 'a copy to the host', 'a copy to the device'
INDEX, MASK, PLACES = 'an index of the host', 'a mask as an index', 'places in a mask'
CHOICE = 'a choice of as many as there are'
"""What a host waits for, see :meth:`FakeCuda.waits`."""


class FakeCuda(TorchDispatchMode):
    """Inside, tensors of a GPU are torch's fake ones; what runs on the host really runs.

    Whatever mixes devices, or would make the host wait for a value, raises, but for :meth:`waits`.
    Neither autograd's engine nor the choice among kernels of attention works without a driver, so
    there are :meth:`backward` and :func:`fused_attention`.

    Attributes:
        launches: How often each operation was called that launches a kernel; one that goes over a
            list of tensors counts once.
        number: What the host reads where it may (:meth:`waits`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.launches: Counter[str] = Counter()
        self.number = 0
        self._waits: Counter[str] | None = None

    def __torch_dispatch__(
        self, operation: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run one operation, where it belongs."""
        kwargs = kwargs or {}
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        to = torch.device(kwargs.get('device') or 'cpu')
        if to.type != 'cuda' and not any(isinstance(x, FakeTensor) for x in tensors):
            return operation(*args, **kwargs)
        name = str(operation)
        if reason := _why_it_waits(name, args, kwargs, tensors):
            if self._waits is not None:
                self._waits[reason] += 1
            elif 'copy' not in reason:
                raise RuntimeError(f'the host waits for the device: {reason}')
        if name.startswith('aten._local_scalar_dense') and self._waits is not None:
            return self._answer((), args[0].dtype).item()
        if name.startswith('aten.equal') and self._waits is not None:
            return True
        with self.fake:
            if reason in (NUMBER, PLACES, MASK, CHOICE) and self._waits is not None:
                if name.startswith('aten.bincount'):
                    return args[0].new_zeros(args[2], dtype=torch.long)
                if name.startswith('aten.nonzero'):
                    return args[0].new_zeros((1, args[0].ndim), dtype=torch.long)
                if name.startswith('torchvision.nms'):
                    return args[0].new_zeros(1, dtype=torch.long)
                if name.startswith('aten._unique2'):
                    inverse = args[0].new_zeros(args[0].shape, dtype=torch.long)
                    return args[0].flatten()[:1], inverse, inverse.flatten()[:1]
                args = args[0], _one_place(args[1]), *args[2:]
            out = operation(*args, **kwargs)
        if reason == READ:
            return self._answer(out.shape, out.dtype)
        returns = operation._schema.returns
        is_view = returns and all(r.alias_info and not r.alias_info.is_write for r in returns)
        if not is_view and not name.startswith(_NO_KERNEL):
            self.launches[name] += 1
        return out

    def _answer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """What the host reads where it may."""
        return torch.full(shape, True if dtype == torch.bool else self.number, dtype=dtype)

    def count(self, function: Callable[[], Any]) -> int:
        """Launches that a function makes."""
        before = self.launches.total()
        function()
        return self.launches.total() - before

    def waits(self, function: Callable[[], Any]) -> Counter[str]:
        """What the host waits for in a function, and how often.

        It reads that every condition holds, that numbers are :attr:`number`, and of a mask one
        place; of several boxes or values it keeps one.
        Blocking copies count too: each way they wait for all that was launched before them.
        """
        self._waits = Counter()
        try:
            function()
            return self._waits
        finally:
            self._waits = None

    def backward(self, loss: Tensor) -> None:
        """What ``loss.backward()`` does, node by node."""
        gradients: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
        for node in _in_order(loss.grad_fn):
            found = gradients.pop(node, None)
            if found is None:
                continue
            inputs = [found.get(i) for i in range(len(node._input_metadata))]
            if hasattr(node, 'variable'):  # the end of a way
                leaf = node.variable
                leaf.grad = inputs[0] if leaf.grad is None else leaf.grad + inputs[0]
                continue
            call = node.apply if isinstance(node, BackwardCFunction) else node
            outputs = call(*inputs)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            for (following, i), gradient in zip(node.next_functions, outputs):
                if following is not None and gradient is not None:
                    known = gradients.setdefault(following, {})
                    fitting = _fit(gradient, following._input_metadata[i])
                    known[i] = known[i] + fitting if i in known else fitting


def _one_place(indices: list[Tensor | None]) -> list[Tensor | None]:
    """Indices with one place for each mask among them."""
    found = []
    for x in indices:
        is_mask = x is not None and x.dtype == torch.bool
        found += [x.new_zeros(1, dtype=torch.long)] * x.ndim if is_mask else [x]
    return found


def _why_it_waits(name: str, args: tuple, kwargs: dict, tensors: list[Tensor]) -> str | None:
    """Why the host would wait for a device in an operation; None where it would not."""
    if name.startswith(('aten._local_scalar_dense', 'aten.bincount', 'aten.equal')):
        return NUMBER
    if name.startswith('aten.nonzero'):
        return PLACES
    if name.startswith(('torchvision.nms', 'aten._unique2')):
        return CHOICE
    if name.startswith(_INDEXING):
        picked = [x for x in args[1] if x is not None]
        if any(x.is_cpu and x.ndim for x in picked):
            return INDEX
        # One number in the places of a mask is a fill.
        if any(x.dtype == torch.bool for x in picked) and not (
            name.startswith('aten.index_put') and args[2].numel() == 1
        ):
            return MASK
    if name.startswith('aten._to_copy') and not kwargs.get('non_blocking'):
        ends = args[0].device.type, torch.device(kwargs.get('device') or args[0].device).type
    elif name.startswith('aten.copy_') and not (*args[2:], *kwargs.values(), False)[0]:
        ends = args[1].device.type, args[0].device.type
    else:
        return None
    return {('cpu', 'cuda'): WRITE, ('cuda', 'cpu'): READ}.get(ends)


def _in_order(root: Any) -> list[Any]:
    """The nodes behind one, each before those that its gradients go to."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(n, False) for n, _ in node.next_functions if n is not None]
    return order[::-1]


def _fit(gradient: Tensor, wanted: Any) -> Tensor:
    """A gradient in the shape and type of what it is of, as the engine makes it."""
    if gradient.device != wanted.device:
        raise RuntimeError(f'a gradient on {gradient.device} of a tensor on {wanted.device}')
    if gradient.shape != tuple(wanted.shape):
        gradient = gradient.sum_to_size(tuple(wanted.shape))
    return gradient.to(wanted.dtype)


def fused_attention(plain: Callable) -> Callable:
    """``scaled_dot_product_attention`` by a kernel that GPUs have, where tensors are fake."""

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        if not isinstance(query, FakeTensor):
            options = dict(attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal)
            return plain(query, key, value, **options, scale=scale)
        if torch.is_autocast_enabled('cuda'):
            kind = torch.get_autocast_dtype('cuda')
            query, key, value = (x.to(kind) for x in (query, key, value))
        kept = any(x.requires_grad for x in (query, key, value))
        return torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, kept, dropout_p, is_causal, scale=scale
        )[0]

    return attention


def new_tensor(plain: Callable) -> Callable:
    """``Tensor.new_tensor`` of fake tensors: made on the host, and copied."""

    def made(self: Tensor, data: Any, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
        if not isinstance(self, FakeTensor):
            return plain(self, data, dtype=dtype, **options)
        device = options.pop('device', None) or self.device
        return torch.tensor(data, dtype=dtype or self.dtype).to(device)

    return made

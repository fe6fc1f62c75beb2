"""Optimizer wrapper of the FLSL recipe."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn

from ...models.layers.precision import warn_of_emulation
from ...utils.errors import ConfigError
from .clip_grad import clip_grad_norm_per_parameter_

# torch before 2.3 has the scaler under `torch.cuda` only.
GradScaler = getattr(torch.amp, 'GradScaler', torch.cuda.amp.GradScaler)
PRECISIONS = ('auto', 'float32', 'bfloat16', 'float16')


@OPTIM_WRAPPERS.register_module()
class FLSLOptimWrapper(OptimWrapper):
    """Mixed precision on any device, and gradient clipping per parameter.

    mmengine's ``AmpOptimWrapper`` refuses to run on a CPU, and its wrappers clip the norm of all
    gradients together. Gradient accumulation works as in :class:`mmengine.optim.OptimWrapper`.

    Args:
        optimizer: The optimizer; its parameters must already be on their device.
        precision: ``'auto'`` is bfloat16 on a GPU that has it, float16 on other GPUs and float32
            on a CPU; or one of ``'float32'``, ``'bfloat16'``, ``'float16'`` (GPU only; with loss
            scaling).
        clip_grad: ``dict(max_norm=...)``: bound of the L2 norm of each gradient; ``None`` does
            not clip.
        accumulative_counts: Iterations per optimizer step.

    Raises:
        ConfigError: The precision is unknown or does not exist on the device.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        precision: str = 'auto',
        clip_grad: dict | None = None,
        accumulative_counts: int = 1,
    ) -> None:
        super().__init__(optimizer, accumulative_counts=accumulative_counts)
        # mmengine would log and schedule a learning rate of its own here, left out of the scaling
        # by batch size; the groups of this recipe all have the same learning rate.
        self.base_param_settings = None
        if clip_grad is not None:
            self.clip_func = clip_grad_norm_per_parameter_
            self.clip_grad_kwargs = dict(clip_grad)
        self.device_type = optimizer.param_groups[0]['params'][0].device.type
        self.dtype = self._resolve(precision)
        self.scaler = GradScaler(enabled=self.dtype == torch.float16)
        if self.dtype == torch.float16:
            # A fused optimizer would skip a step inside its kernel, and the hooks on the optimizer,
            # such as the teacher's update, would not know.
            optimizer._step_supports_amp_scaling = False

    def _resolve(self, precision: str) -> torch.dtype:
        if precision not in PRECISIONS:
            raise ConfigError(f'FLSLOptimWrapper: precision={precision!r} is none of {PRECISIONS}')
        if precision == 'auto':
            if self.device_type != 'cuda':
                return torch.float32
            return torch.bfloat16 if has_bfloat16() else torch.float16
        if precision == 'float16' and self.device_type != 'cuda':
            raise ConfigError('FLSLOptimWrapper: float16 needs a GPU; use bfloat16 on this device')
        if precision == 'bfloat16':
            warn_of_emulation(self.device_type)
        return getattr(torch, precision)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient synchronization in iterations without a step."""
        # torch 2.1 refuses to name float32 for a CPU, even in an autocast that is off.
        autocast = (
            nullcontext()
            if self.dtype == torch.float32
            else torch.autocast(self.device_type, dtype=self.dtype)
        )
        with super().optim_context(model), autocast:
            yield

    def backward(self, loss: torch.Tensor, **kwargs) -> None:
        """Back-propagate the (scaled) loss."""
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        """Clip and update; float16 skips the update when a gradient overflowed."""
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            params = [p for group in self.optimizer.param_groups for p in group['params']]
            self.clip_func(params, **self.clip_grad_kwargs)
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def state_dict(self) -> dict:
        """The optimizer's state and the loss scale."""
        return {**super().state_dict(), 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore :meth:`state_dict`."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop('scaler', None)
        if scaler:  # empty when it was saved in another precision
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)


def has_bfloat16() -> bool:
    """Whether the GPU computes in bfloat16; torch's own question counts emulation as a yes."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability()[0] >= 8

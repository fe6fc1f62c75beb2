"""Stops a run whose loss is no longer a number."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop at the first NaN or infinite loss and name the last good checkpoint.

    Runs before the checkpoint hook, and :class:`AtomicCheckpointHook` refuses non-finite weights,
    so the checkpoint named is from before the accident.

    Raises:
        RuntimeError: A loss is not finite.
    """

    priority = 'HIGH'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of the iteration."""
        if torch.isfinite(outputs['loss']):
            return
        values = ', '.join(f'{k}={v.item():g}' for k, v in outputs.items() if 'loss' in k)
        last = runner.message_hub.runtime_info.get('last_ckpt')
        advice = f'last good checkpoint: {last}' if last else 'no checkpoint was saved before'
        raise RuntimeError(
            f'the loss is not finite at epoch {runner.epoch + 1}, iteration {runner.iter + 1} '
            f'({values}); {advice}. Lower the learning rate or train in float32.'
        )

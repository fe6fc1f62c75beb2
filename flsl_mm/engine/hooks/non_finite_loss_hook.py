"""A loss that is no longer a number: it stops the run."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from ...utils.errors import TrainingStopped


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop at the first NaN or infinite loss and name the last good checkpoint.

    Runs before the checkpoint hook, and :class:`AtomicCheckpointHook` refuses non-finite weights,
    so the checkpoint named is from before the accident.

    Args:
        gpu_interval: Iterations between two looks at losses on a GPU, each of which waits until
            the GPU has caught up. No loss is left out; a run may go on for as many iterations
            after the accident. On a CPU every loss is looked at at once.

    Raises:
        TrainingStopped: A loss is not finite.
    """

    priority = 'HIGH'

    def __init__(self, gpu_interval: int = 10) -> None:
        self.gpu_interval = gpu_interval
        self._pending: list[tuple[int, int, dict[str, Tensor]]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of the iterations since the last look."""
        losses = {name: value.detach() for name, value in outputs.items() if 'loss' in name}
        self._pending.append((runner.epoch, runner.iter, losses))
        if losses['loss'].is_cpu or len(self._pending) >= self.gpu_interval:
            self._check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check what is left, before the checkpoint of the epoch."""
        self._check(runner)

    def _check(self, runner: Runner) -> None:
        pending, self._pending = self._pending, []
        if not pending or torch.isfinite(torch.stack([x['loss'] for _, _, x in pending])).all():
            return
        epoch, iteration, losses = next(x for x in pending if not torch.isfinite(x[2]['loss']))
        values = ', '.join(f'{name}={value.item():g}' for name, value in losses.items())
        last = runner.message_hub.runtime_info.get('last_ckpt')
        advice = f'last good checkpoint: {last}' if last else 'no checkpoint was saved before'
        raise TrainingStopped(
            f'the loss is not finite at epoch {epoch + 1}, iteration {iteration + 1} '
            f'({values}); {advice}. Lower the learning rate or train in float32.'
        )

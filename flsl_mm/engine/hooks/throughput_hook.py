"""Images per second and memory in the log."""

import resource
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log ``images_per_second`` over all processes and, without a GPU, ``memory`` in MiB.

    mmengine itself logs the time of an iteration, the wait for data and the memory of a GPU. Where
    its ``timer`` is switched off, ``images_per_second`` is left out.
    """

    priority = 'BELOW_NORMAL'  # after IterTimerHook, before LoggerHook

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Update the log."""
        if 'train/time' in runner.message_hub.log_scalars:
            seconds = runner.message_hub.get_scalar('train/time').current()
            images = len(data_batch['inputs']) * get_world_size()
            runner.message_hub.update_scalar('train/images_per_second', images / seconds)
        if not torch.cuda.is_available():
            peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            runner.message_hub.update_scalar('train/memory', peak_kib // 1024)

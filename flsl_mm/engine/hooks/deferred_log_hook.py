"""Logging of losses without a wait in every iteration."""

from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from .timed_logger_hook import TimedLoggerHook


@HOOKS.register_module()
class DeferredLogHook(RuntimeInfoHook):
    """mmengine's bookkeeping of a run, that reads the losses only when they are logged.

    mmengine's own asks a GPU for every value of every iteration, and each time waits until the GPU
    has caught up. This one keeps the tensors until the logger is due, and fetches all of them at
    once. The log is the same. Stands in for ``runtime_info`` in ``default_hooks``.

    mmengine also keeps up to a million values of everything that it logs, and copies all of them in
    every iteration. What is kept here is the longest window that the log averages over.
    """

    def __init__(self) -> None:
        self._pending: list[dict[str, Tensor]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Keep the values of this iteration; pass on all of them if they are to be logged now."""
        self._pending.append({name: value.detach() for name, value in (outputs or {}).items()})
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        if (
            any([self._is_due(logger, runner, batch_idx) for logger in loggers])
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self._flush(runner)

    def _is_due(self, logger: LoggerHook, runner: Runner, batch_idx: int) -> bool:
        if isinstance(logger, TimedLoggerHook):
            return logger.is_due(runner, batch_idx)
        return self.every_n_inner_iters(batch_idx, logger.interval)

    def _flush(self, runner: Runner) -> None:
        longest = longest_window(runner)
        values: dict[str, list[Tensor]] = {}
        for outputs in self._pending:
            for name, value in outputs.items():
                values.setdefault(f'train/{name}', []).append(value)
        self._pending.clear()
        if longest is not None:  # the log does not look back over more
            values = {name: listed[-longest:] for name, listed in values.items()}
        tensors = [value for listed in values.values() for value in listed]
        if len({t.dtype for t in tensors}) > 1:
            tensors = [t.double() for t in tensors]
        names = [name for name, listed in values.items() for _ in listed]
        for name, value in zip(names, torch.stack(tensors).tolist() if tensors else ()):
            runner.message_hub.update_scalar(name, value)
        if longest is not None:
            for name, history in runner.message_hub.log_scalars.items():
                if name.startswith('train/'):
                    history.max_length = longest


def longest_window(runner: Runner) -> int | None:
    """Iterations that the log looks back over at most; None where it looks back over all."""
    windows = [runner.log_processor.window_size]
    for setting in runner.log_processor.custom_cfg:
        if setting.get('method_name') != 'current':
            windows.append(setting.get('window_size', 'global'))
    if 'global' in windows:
        return None
    return max(len(runner.train_dataloader) if w == 'epoch' else w for w in windows)

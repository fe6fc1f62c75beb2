"""Checkpoints that are never half-written."""

import os.path as osp
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import (
    broadcast_object_list,
    is_distributed,
    is_main_process,
    master_only,
)
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...utils.counts import counted
from ...utils.errors import TrainingStopped
from ...utils.files import whole_file
from ...utils.modules import unwrap_model
from ..loops import ResumableTrainLoop
from . import atomic_checkpoint_hook as atomic_backend  # noqa: F401  (registers the backend)


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend, with atomic writes (:func:`whole_file`)."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file."""
        with whole_file(filepath) as draft:
            draft.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file."""
        self.put(obj.encode(encoding, 'surrogateescape'), filepath)  # names need not be UTF-8


EXPIRED = 'expired_ckpts'  # in the message hub: checkpoints to remove once this one is on disk
BETWEEN = 'between_epochs.pth'  # the last one within an epoch
ASKED_EVERY = 20  # iterations, at which several processes agree on the time
LEFTOVERS = ('.*.pth.*.tmp', '.last_checkpoint.*.tmp', '.frozen_evaluation.json.*.tmp')

register_backend('atomic', AtomicLocalBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's checkpoint hook, safe against being killed at any moment.

    Files are written whole or not at all; old ones are removed only after the new one and the
    pointer to it (``last_checkpoint``) are on disk, if need be when the run is resumed. A save that
    fails leaves nothing behind. Weights that are not finite are never saved.
    A file holds no objects that could not be loaded safely.

    Where a run saves by epoch and can go on within one (:class:`ResumableTrainLoop`), long epochs
    are also saved by time: into one file, ``between_epochs.pth``, which the next epoch removes.

    Args:
        args: As for :class:`mmengine.hooks.CheckpointHook`.
        minutes: Since the last save, after which one is made within an epoch; None for none.
        kwargs: As for :class:`mmengine.hooks.CheckpointHook`, local directories only.

    Raises:
        TrainingStopped: At a save, some weights are not finite; the message names the last good
            checkpoint.
    """

    def __init__(self, *args, minutes: float | None = None, **kwargs) -> None:
        super().__init__(*args, backend_args=dict(backend='atomic'), **kwargs)
        self.minutes = minutes
        self._due = False

    def before_train(self, runner: Runner) -> None:
        """Prepare the directory; remove what a killed process left behind."""
        super().before_train(runner)
        self._last_save = time.monotonic()
        info = runner.message_hub.runtime_info
        resumed = Path(info.get('last_ckpt') or '').parent
        # Of a run that goes on in its own folder: it may have been killed before it removed them.
        own = self.max_keep_ckpts > 0 and resumed.resolve() == Path(self.out_dir).resolve()
        self._remove_leftovers(runner, map(osp.basename, info.get(EXPIRED, []) if own else []))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave out what is no weight or plain value, so that any torch loads the file safely.

        That is the log's history, which nothing reads again, and numbers of numpy's types.
        """
        hub = checkpoint['message_hub']
        hub.update(log_scalars={}, resumed_keys={})
        for name, value in hub['runtime_info'].items():
            if isinstance(value, np.generic):
                hub['runtime_info'][name] = value.item()

    @master_only
    def _remove_leftovers(self, runner: Runner, expired: Iterable[str]) -> None:
        for pattern in LEFTOVERS:
            for folder in {runner.work_dir, self.out_dir}:
                self._remove(runner, Path(folder).glob(pattern))
        self._remove(runner, [Path(self.out_dir, name) for name in expired])

    @staticmethod
    def _remove(runner: Runner, paths: Iterable[Path]) -> None:
        """Remove files; one that has gone, or has to stay, does not end training."""
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                runner.logger.warning(f'{path} cannot be removed ({error.strerror}): left there')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Save by iteration or time, but not while accumulated gradients wait for their step."""
        if self.by_epoch:
            if self._is_late(runner) and runner.optim_wrapper.should_update():
                self._save_between(runner)
            return
        last = self.save_last and self.is_last_train_iter(runner)
        self._due |= last or self.every_n_train_iters(runner, self.interval, self.save_begin)
        if self._due and runner.optim_wrapper.should_update():
            self._due = False
            runner.logger.info(f'Saving checkpoint at {counted(runner.iter + 1, "iteration")}')
            self._save_checkpoint(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save by epoch, as mmengine does; its line would have "1 epochs"."""
        last = self.save_last and self.is_last_train_epoch(runner)
        due = last or self.every_n_epochs(runner, self.interval, self.save_begin)
        if self.by_epoch and due:
            runner.logger.info(f'Saving checkpoint at {counted(runner.epoch + 1, "epoch")}')
            self._save_checkpoint(runner)

    def _is_late(self, runner: Runner) -> bool:
        """Whether the last save is too long ago; the first process decides for all."""
        if self.minutes is None or not isinstance(runner.train_loop, ResumableTrainLoop):
            return False
        if is_distributed() and not self.every_n_train_iters(runner, ASKED_EVERY):
            return False
        late = [time.monotonic() - self._last_save >= 60 * self.minutes]
        broadcast_object_list(late)
        return late[0] and not self.end_of_epoch(runner.train_dataloader, self._within(runner))

    @staticmethod
    def _within(runner: Runner) -> int:
        """Index of the present iteration in its epoch."""
        return runner.iter % len(runner.train_dataloader)

    def _save_between(self, runner: Runner) -> None:
        done = self._within(runner) + 1
        runner.logger.info(
            f'Saving checkpoint within epoch {runner.epoch + 1}, after '
            f'{counted(done, "iteration")} of it'
        )
        self._check_weights(runner)
        self._write(runner, BETWEEN, by_epoch=False, meta=None)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self._check_weights(runner)
        expired = self._expire(runner, step)
        runner.message_hub.update_info(EXPIRED, [osp.basename(old) for old in expired])
        self._write(runner, self.filename_tmpl.format(step), self.by_epoch, meta)
        if is_main_process():
            self._remove(runner, [*map(Path, expired), Path(self.out_dir, BETWEEN)])

    def _write(self, runner: Runner, filename: str, by_epoch: bool, meta: dict | None) -> None:
        """Write a checkpoint, then the pointer to it; a failure leaves things as they were."""
        path = osp.join(self.out_dir, filename)
        before, replaces = runner.message_hub.runtime_info.get('last_ckpt'), osp.exists(path)
        runner.message_hub.update_info('last_ckpt', path)
        try:
            runner.save_checkpoint(
                self.out_dir,
                filename,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                self.file_backend.put_text(path, osp.join(runner.work_dir, 'last_checkpoint'))
        except OSError:  # a full disk: the run goes on from what was there before
            runner.message_hub.update_info('last_ckpt', before)
            if not replaces:
                Path(path).unlink(missing_ok=True)
            raise
        self.last_ckpt, self._last_save = path, time.monotonic()

    def _expire(self, runner: Runner, step: int) -> list[str]:
        """Enter the new step among those kept; paths of checkpoints to remove after the save."""
        if self.max_keep_ckpts <= 0:
            return []
        kept = [s for s in self.keep_ckpt_ids if s != step] + [step]
        old, kept = kept[: -self.max_keep_ckpts], kept[-self.max_keep_ckpts :]
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(kept)
        runner.message_hub.update_info('keep_ckpt_ids', kept)
        paths = [osp.join(self.out_dir, self.filename_tmpl.format(s)) for s in old]
        return [path for path in paths if osp.isfile(path)]

    def _check_weights(self, runner: Runner) -> None:
        model = unwrap_model(runner.model)
        for name, value in model.state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                last = runner.message_hub.runtime_info.get('last_ckpt', 'none')
                raise TrainingStopped(
                    f'{name} is not finite at epoch {runner.epoch + 1}, iteration '
                    f'{runner.iter + 1}: not saved; last good checkpoint: {last}'
                )

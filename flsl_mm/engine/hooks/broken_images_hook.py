"""Broken images: too many of them stop a run."""

from collections.abc import Mapping
from itertools import islice

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...utils.counts import counted
from ...utils.errors import ConfigError, DataError

NUM_LOGGED = 20
NUM_EXAMPLES = 5


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Count and log images that could not be read, and stop when they are too many.

    The data set replaces such images and reports them in the ``broken`` meta information of the
    replacement (:class:`UnlabeledImages`). Every image counts once, by its path, over all processes
    together. The first 20 are logged with the reason, later ones as a number. A resumed run counts
    anew: it comes upon all images again.

    Args:
        max_ratio: Largest tolerated share of the data set, in [0, 1].
        interval: Iterations between two checks, which exchange the findings of the processes;
            there is one at the end of each epoch too.

    Raises:
        DataError: More than ``max_ratio`` of the data set is broken; names five examples.
    """

    priority = 'VERY_LOW'  # that of checkpoints, which are registered before: save, then stop

    def __init__(self, max_ratio: float = 0.01, interval: int = 50) -> None:
        if not 0 <= max_ratio <= 1:
            raise ConfigError(f'BrokenImagesHook: max_ratio must be within [0, 1], got {max_ratio}')
        self.max_ratio = max_ratio
        self.interval = interval
        self.new: list[tuple[str, str]] = []  # seen by this process since the last check
        self.broken: dict[str, str] = {}  # path and first reason: those of all processes

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        """Collect what the batch reports."""
        for sample in data_batch['data_samples']:
            self.new.extend(sample.get('broken', ()))
        if self.every_n_train_iters(runner, self.interval):
            self.check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check what the last iterations reported."""
        self.check(runner)

    def after_train(self, runner: Runner) -> None:
        """Log the total."""
        self.check(runner)
        total = len(runner.train_dataloader.dataset)
        count = len(self.broken)
        some = f'{count} of {counted(total, "image")} could not be read'
        runner.logger.info(some if count else 'every image could be read')

    def check(self, runner: Runner) -> None:
        """Merge the findings of all processes, log new ones, stop if there are too many."""
        before = len(self.broken)
        for found in all_gather_object(self.new):
            for path, reason in found:
                self.broken.setdefault(path, reason)
        self.new = []
        count, total = len(self.broken), len(runner.train_dataloader.dataset)
        if count == before:
            return
        for path, reason in list(self.broken.items())[before:NUM_LOGGED]:
            runner.logger.warning(f'image skipped, cannot be read: {path}: {reason}')
        runner.logger.warning(f'{count} of {counted(total, "image")} could not be read so far')
        if count > self.max_ratio * total:
            raise DataError(_too_many(self.broken, total, self.max_ratio))


def _too_many(broken: Mapping[str, str], total: int, max_ratio: float) -> str:
    """Why the run stops, with examples."""
    examples = '; '.join(map(': '.join, islice(broken.items(), NUM_EXAMPLES)))
    return (
        f'{len(broken)} of {counted(total, "image")} cannot be read, more than the tolerated '
        f'{max_ratio:.2%}; repair or remove them, or raise max_ratio of BrokenImagesHook. '
        f'Examples: {examples}'
    )

"""Epoch loop that continues exactly where a checkpoint was taken."""

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import LOOPS

from ...utils.counts import counted
from ...utils.errors import ConfigError, DataError


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop, exact after a resume, in mid-epoch too.

    Two things make it so: the sampler (:class:`~flsl_mm.datasets.ResumableSampler`) skips what the
    epoch has already seen, and torch's random state is set before every iteration from the run's
    seed, the rank and the iteration. No random state needs to be saved, on any number of processes.

    Args:
        args: As for :class:`mmengine.runner.EpochBasedTrainLoop`.
        kwargs: As for :class:`mmengine.runner.EpochBasedTrainLoop`.

    Raises:
        DataError: There are too few images for one batch.
        ConfigError: The sampler cannot skip.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if len(self.dataloader) == 0:
            images, processes = len(self.dataloader.dataset), get_world_size()
            where = f' on {counted(processes, "process")}' if processes > 1 else ''
            raise DataError(
                f'{counted(images, "image")}{where} cannot fill a batch of '
                f'{self.dataloader.batch_size}: lower train_dataloader.batch_size'
            )
        if not hasattr(self.dataloader.sampler, 'set_start'):
            raise ConfigError(
                'ResumableTrainLoop needs train_dataloader.sampler=dict(type="ResumableSampler"), '
                f'got {type(self.dataloader.sampler).__name__}'
            )

    def run(self) -> torch.nn.Module:
        """Train from the current iteration to the last."""
        # A resumed run takes over the checkpoint's seed after the sampler was built. All processes
        # must shuffle alike, also where `diff_rank_seed` gives each a seed of its own.
        seed = [self.runner.seed]
        broadcast_object_list(seed)
        self.dataloader.sampler.seed = seed[0]
        return super().run()

    def run_epoch(self) -> None:
        """Train the rest of the current epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)  # not 0 after a resume in mid-epoch
        # Gradient accumulation starts anew with every epoch, so that nothing is pending at its end.
        self.runner.optim_wrapper.initialize_count_status(
            self.runner.model, done, len(self.dataloader)
        )
        self.dataloader.sampler.set_start(done * self.dataloader.batch_size)
        for idx, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Train one iteration with random numbers of its own."""
        state = np.random.SeedSequence((self.runner.seed, get_rank(), self._iter))
        torch.manual_seed(int(state.generate_state(1)[0]))
        super().run_iter(idx, data_batch)

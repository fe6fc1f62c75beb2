"""Epoch loop that continues exactly where a checkpoint was taken."""

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import LOOPS


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
        ValueError: There are too few images for one batch.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if len(self.dataloader) == 0:
            raise ValueError(
                f'{len(self.dataloader.dataset)} images on {get_world_size()} processes do not '
                f'fill a batch: batch size {self.dataloader.batch_size} is too large'
            )

    def run(self) -> torch.nn.Module:
        """Train from the current iteration to the last."""
        # A resumed run takes over the checkpoint's seed after the sampler was built.
        self.dataloader.sampler.seed = self.runner.seed
        return super().run()

    def run_epoch(self) -> None:
        """Train the rest of the current epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iterations_done()
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

    def _iterations_done(self) -> int:
        """Iterations of this epoch behind us; 0 except right after a resume in mid-epoch."""
        length = len(self.dataloader)
        done = self._iter - self._epoch * length
        if 0 <= done <= length:
            return done
        self.runner.logger.warning(
            f'The checkpoint is of epoch {self._epoch}, iteration {self._iter}, but an epoch now '
            f'has {length} iterations (other batch size, data or number of processes): continuing '
            'at the beginning of the epoch.'
        )
        self._iter = self._epoch * length
        for scheduler in self.runner.param_schedulers or ():
            if not scheduler.by_epoch:
                scheduler.last_step = self._iter
        return 0

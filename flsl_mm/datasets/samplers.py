"""The order of the images, exactly resumable."""

import math
from collections.abc import Iterator, Sized
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """One draw of one image: everything that decides a training sample.

    Attributes:
        index: Position of the image in the dataset.
        seed: Seed of the sample's own random generator, non-negative.
    """

    index: int
    seed: int


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """Shuffle anew every epoch, share the samples between processes, and start anywhere.

    Yields :class:`SampleKey`, an index with the seed of that draw's random transforms. The data of
    a run are thus the same whatever the number of workers, and after a resume in mid-epoch. The
    last samples are filled up from the beginning, so that every process gets equally many.

    Args:
        dataset: Only its length is used.
        seed: Seed of the run, the same in all processes; ``None`` is 0.
        shuffle: Whether to shuffle.
    """

    def __init__(self, dataset: Sized, seed: int | None = None, shuffle: bool = True) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.seed = seed or 0
        self.shuffle = shuffle
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        """Samples of this process in a whole epoch."""
        return math.ceil(self.size / self.world_size)

    def __iter__(self) -> Iterator[SampleKey]:
        """The keys of this process from ``start`` on."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.size, generator=generator).numpy()
        else:
            order = np.arange(self.size)
        for i in range(self.start, len(self)):
            position = i * self.world_size + self.rank
            seed = np.random.SeedSequence((self.seed, self.epoch, position)).generate_state(1)
            yield SampleKey(index=int(order[position % self.size]), seed=int(seed[0]))

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch (called by mmengine before each) and start at its beginning."""
        self.epoch = epoch
        self.start = 0

    def set_start(self, start: int) -> None:
        """Leave out the first ``start`` samples of this process in the next iteration."""
        self.start = start

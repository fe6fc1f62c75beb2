"""What a training sampler hands to the dataset."""

from typing import NamedTuple


class SampleKey(NamedTuple):
    """One draw of one image: everything that decides a training sample.

    Attributes:
        index: Position of the image in the dataset.
        seed: Seed of the sample's own random generator, non-negative.
    """

    index: int
    seed: int

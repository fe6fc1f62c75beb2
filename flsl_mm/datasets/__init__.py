"""Data sets, samplers and transforms."""

from .samplers import *  # noqa: F401,F403
from .transforms import *  # noqa: F401,F403
from .uavdt import UAVDTDataset
from .unlabeled_images import UnlabeledImages

__all__ = ['UAVDTDataset', 'UnlabeledImages']

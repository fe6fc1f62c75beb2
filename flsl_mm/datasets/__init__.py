"""Data sets, samplers and transforms."""

from .find_labeled_images import find_labeled_images
from .imagenet_boxes import ImageNetBoxes
from .instance_images import InstanceImages
from .masks import MaskFolder
from .samplers import *  # noqa: F401,F403
from .transforms import *  # noqa: F401,F403
from .uavdt import UAVDTDataset
from .unlabeled_images import UnlabeledImages
from .unusable_sample import Unusable, UnusableSample

__all__ = [
    'ImageNetBoxes',
    'InstanceImages',
    'MaskFolder',
    'UAVDTDataset',
    'UnlabeledImages',
    'Unusable',
    'UnusableSample',
    'find_labeled_images',
]

"""Data sets, samplers and transforms; a module is imported when its names are looked up."""

from ..utils.lazy import lazy_names
from . import transforms
from .find_labeled_images import find_labeled_images  # a name that is the module's too

__getattr__, __all__ = lazy_names(
    __name__,
    {
        '.imagenet_boxes': ['ImageNetBoxes'],
        '.instance_images': ['InstanceImages'],
        '.masks': ['MaskFolder'],
        '.plain_images': ['PlainImages'],
        '.samplers': ['ResumableSampler', 'SampleKey'],
        '.transforms': transforms.__all__,
        '.uavdt': ['UAVDTDataset'],
        '.unlabeled_images': ['UnlabeledImages'],
        '.unusable_sample': ['Unusable', 'UnusableSample'],
    },
)
__all__ += ['find_labeled_images']

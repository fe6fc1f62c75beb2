"""Drawn scenes: what the demo learns from, and tests read, in place of the real data sets.

``tools/dataset_converters/make_scenes.py`` writes them in the layouts of the real data sets.
"""

from .ade20k import write_ade20k
from .coco import write_coco
from .davis import write_davis
from .imagenet import write_imagenet
from .kinds import CLASSES, GROUNDS, OBJECTS
from .sampling import sample_scene
from .scene import Picture, Scene
from .uavdt import write_uavdt

__all__ = [
    'CLASSES',
    'GROUNDS',
    'OBJECTS',
    'Picture',
    'Scene',
    'sample_scene',
    'write_ade20k',
    'write_coco',
    'write_davis',
    'write_imagenet',
    'write_uavdt',
]

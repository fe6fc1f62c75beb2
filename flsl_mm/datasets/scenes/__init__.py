"""Drawn scenes: what the demo learns from, and tests read, in place of the real data sets.

``tools/dataset_converters/make_scenes.py`` writes them in the layouts of the real data sets.
"""

from .kinds import CLASSES, GROUNDS, OBJECTS
from .layouts import write_ade20k, write_coco, write_davis, write_imagenet, write_uavdt
from .sampling import sample_scene
from .scene import Picture, Scene

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

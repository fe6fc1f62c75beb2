"""Data transforms."""

from .box_points import (
    CenterCropBoxes,
    LargestBoxGrid,
    LoadImageNetBoxes,
    PackBoxPoints,
    ResizeShortSide,
)
from .load_rgb_image import LoadRGBImage
from .teacher_crop import PackTeacherCrop, RandomTeacherCrop

__all__ = [
    'CenterCropBoxes',
    'LargestBoxGrid',
    'LoadImageNetBoxes',
    'LoadRGBImage',
    'PackBoxPoints',
    'PackTeacherCrop',
    'RandomTeacherCrop',
    'ResizeShortSide',
]

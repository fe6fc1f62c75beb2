"""Data transforms."""

from .box_points import (
    CentreCrop,
    LargestBoxGrid,
    LoadImageNetBoxes,
    PackBoxPoints,
    ResizeShortSide,
)
from .load_rgb_image import LoadRGBImage
from .teacher_crop import PackTeacherCrop, RandomTeacherCrop

__all__ = [
    'CentreCrop',
    'LargestBoxGrid',
    'LoadImageNetBoxes',
    'LoadRGBImage',
    'PackBoxPoints',
    'PackTeacherCrop',
    'RandomTeacherCrop',
    'ResizeShortSide',
]

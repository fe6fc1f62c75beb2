"""Data transforms."""

from .centre_crop import CentreCrop
from .largest_box_grid import LargestBoxGrid
from .load_imagenet_boxes import LoadImageNetBoxes
from .load_rgb_image import LoadRGBImage
from .pack_box_points import PackBoxPoints
from .pack_teacher_crop import PackTeacherCrop
from .random_teacher_crop import RandomTeacherCrop
from .resize_short_side import ResizeShortSide

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

"""Data transforms."""

from .load_rgb_image import LoadRGBImage
from .pack_teacher_crop import PackTeacherCrop
from .random_teacher_crop import RandomTeacherCrop

__all__ = ['LoadRGBImage', 'PackTeacherCrop', 'RandomTeacherCrop']

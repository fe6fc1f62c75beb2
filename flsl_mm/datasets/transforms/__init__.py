"""Data transforms of pretraining and of k-NN; a module is imported when its names are looked up."""

from ...utils.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        '.box_points': [
            'CenterCropBoxes',
            'LargestBoxGrid',
            'LoadImageNetBoxes',
            'PackBoxPoints',
            'ResizeShortSide',
        ],
        '.load_rgb_image': ['LoadRGBImage'],
        '.teacher_crop': ['PackTeacherCrop', 'RandomTeacherCrop'],
    },
)

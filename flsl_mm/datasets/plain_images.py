"""Images without labels, for frozen tasks that need none."""

import os

import numpy as np
from mmpretrain.registry import DATASETS

from ..utils.errors import DataError
from .image_files import IMAGE_EXTENSIONS, find_images
from .labeled_images import IGNORED, LabeledImage, LabeledImages, read_image, shape_of


@DATASETS.register_module()
class PlainImages(LabeledImages):
    """All images below a folder, every pixel without a label.

    Args:
        images: The folder.
        max_images: Take only so many, evenly spaced.

    Raises:
        FileNotFoundError: There is no such folder.
        DataError: There are no images.
    """

    def __init__(self, images: str, max_images: int | None = None) -> None:
        if not os.path.isdir(images):
            raise FileNotFoundError(f'there is no folder of images {images}')
        found = list(find_images(images, IMAGE_EXTENSIONS))
        if not found:
            raise DataError(f'no images found under {images}')
        super().__init__(found, num_classes=0, max_images=max_images)

    def load(self, sample: str) -> LabeledImage:
        """Read an image."""
        image = read_image(sample, channels=self.channels)
        labels = np.full(shape_of(image), IGNORED, np.int16)
        return LabeledImage(image, labels, np.zeros((0, 4)))

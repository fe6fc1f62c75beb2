"""Masks in image files, and folders of images with masks."""

import os
from collections.abc import Sequence

import cv2
import numpy as np
from mmpretrain.registry import DATASETS

from ..utils.errors import DataError
from .image_files import IMAGE_EXTENSIONS, find_images
from .labeled_images import IGNORED, LabeledImage, LabeledImages, read_image
from .mask_files import read_mask
from .orientation import describe_sizes

_FILE_IGNORED = 255


@DATASETS.register_module()
class MaskFolder(LabeledImages):
    """Images, each with a PNG mask of the same name below another folder.

    The mask's values are the classes, 255 is ignored. With ``reduce_zero_label``, as in mmseg, 0 is
    ignored too and the classes are the values from 1 on (ADE20K).

    The boxes are those of the connected regions (8 neighbors) of one class: where objects of a
    class touch they count as one, and without ``object_classes`` walls and sky count as objects.

    Args:
        images: Folder of images; subfolders are searched.
        masks: Folder of masks, in the same subfolders.
        reduce_zero_label: See above.
        num_classes: Number of classes, to refuse masks with others; by default as many as 8 bits
            allow.
        object_classes: Labels that have boxes (after ``reduce_zero_label``); by default all.
        max_images: Take only so many, evenly spaced.

    Raises:
        FileNotFoundError: One of the folders, or the mask of an image, is missing.
        DataError: There are no images.
    """

    def __init__(
        self,
        images: str,
        masks: str,
        reduce_zero_label: bool = False,
        num_classes: int | None = None,
        object_classes: Sequence[int] | None = None,
        max_images: int | None = None,
    ) -> None:
        for kind, folder in (('images', images), ('masks', masks)):
            if not os.path.isdir(folder):
                raise FileNotFoundError(f'there is no folder of {kind} {folder}')
        found = list(find_images(images, IMAGE_EXTENSIONS))
        if not found:
            raise DataError(f'no images found under {images}')
        names = [os.path.relpath(os.path.splitext(path)[0], images) for path in found]
        pairs = [(path, os.path.join(masks, f'{name}.png')) for path, name in zip(found, names)]
        missing = [mask for _, mask in pairs if not os.path.isfile(mask)]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(pairs)} images in {images} have no mask, the first lacks '
                f'{missing[0]}'
            )
        self.reduce_zero_label = reduce_zero_label
        self.object_classes = object_classes
        super().__init__(pairs, num_classes or _FILE_IGNORED - reduce_zero_label, max_images)

    def load(self, sample: tuple[str, str]) -> LabeledImage:
        """Read an image and its mask."""
        path, mask_path = sample
        labels = self._labels(read_mask(mask_path), mask_path)
        size = labels.shape[::-1]
        image = read_image(
            path, size, lambda found: describe_sizes(path, found, size, mask_path), self.channels
        )
        return LabeledImage(image, labels, self._boxes(labels))

    def _labels(self, mask: np.ndarray, path: str) -> np.ndarray:
        """Labels of the values in a file."""
        first = int(self.reduce_zero_label)
        labels = mask.astype(np.int16) - first
        labels[(mask == _FILE_IGNORED) | (mask < first)] = IGNORED
        wrong = np.unique(mask[labels >= self.num_classes])
        if wrong.size:
            raise DataError(
                f'mask {path} has unknown labels {", ".join(map(str, wrong[:5]))}: '
                f'{first}..{self.num_classes - 1 + first} are the classes, '
                f'{"0 and " if first else ""}{_FILE_IGNORED} ignored'
            )
        return labels

    def _boxes(self, labels: np.ndarray) -> np.ndarray:
        """Boxes (M, 4) of the connected regions of each class."""
        classes = np.unique(labels[labels != IGNORED])
        if self.object_classes is not None:
            classes = np.intersect1d(classes, self.object_classes)
        boxes = []
        for label in classes:
            mask = (labels == label).astype(np.uint8)
            *_, regions, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            boxes.append(regions[1:, :4])  # x, y, width, height; the first region is the rest
        boxes = np.concatenate([np.zeros((0, 4)), *boxes])
        boxes[:, 2:] += boxes[:, :2]
        return boxes

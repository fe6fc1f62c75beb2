"""Images with a class for every pixel and boxes of objects, for frozen evaluation."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..utils.errors import DataError
from ..utils.images import evenly_spaced
from .image_channels import COLORS, decode_channels, is_beyond_pillow
from .image_content import open_image, read_content
from .orientation import oriented
from .transforms.load_rgb_image import to_rgb

IGNORED = -1


class LabeledImage(NamedTuple):
    """One image.

    Attributes:
        image: RGB, turned as its annotations are (:func:`oriented`); an array (H, W, C), uint8, for
            networks of other channels.
        labels: Class of each pixel, int16 (H, W), or ``IGNORED``.
        boxes: x1, y1, x2, y2 of the objects in pixels, float64 (M, 4), M >= 0.
    """

    image: Image.Image | np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


class LabeledImages(ABC):
    """A list of images whose annotations are read when they are asked for.

    Args:
        samples: What :meth:`load` needs of each image, in a fixed order.
        num_classes: Labels are in [0, num_classes).
        max_images: Take only so many, evenly spaced over the list.

    Attributes:
        channels: Of the images; those of the network that is to see them.

    Raises:
        DataError: There are no images, or ``max_images`` is not positive.
    """

    channels: int = COLORS

    def __init__(
        self, samples: Sequence[Any], num_classes: int, max_images: int | None = None
    ) -> None:
        if max_images is not None:
            if max_images < 1:
                raise DataError(f'max_images must be positive, got {max_images}')
            samples = evenly_spaced(samples, max_images)
        self.samples = list(samples)
        self.num_classes = num_classes

    def of_channels(self, channels: int) -> 'LabeledImages':
        """The same images for a network of so many channels."""
        images = copy.copy(self)
        images.channels = channels
        return images

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> LabeledImage:
        """Read an image and its annotations.

        Raises:
            DataError: A file is missing or damaged, or image and annotations do not fit.
        """
        return self.load(self.samples[index])

    @abstractmethod
    def load(self, sample: Any) -> LabeledImage:
        """Read the image and the annotations of one of the samples."""


def read_image(
    path: str,
    size: tuple[int, int] | None = None,
    describe: Callable[[tuple[int, int]], str] | None = None,
    channels: int = COLORS,
) -> Image.Image | np.ndarray:
    """Decode an image to RGB, or to an array (H, W, C) of other channels.

    Args:
        path: Of the image.
        size: Width and height that its annotations are for, which say whether an orientation tag
            is applied (:func:`oriented`); without, it is. An array is upright.
        describe: What to say where the image, of the given size as stored, does not fit.
        channels: C. The image must have so many, or be gray where they are 3.

    Raises:
        DataError: The file is missing, no readable image, or of another size.
    """
    try:
        content = read_content(path)
        if channels != COLORS or is_beyond_pillow(content):
            found = decode_channels(content, channels)
            stored = found.shape[1::-1]
            if size in (None, stored):
                return found
        else:
            with open_image(content) as image:
                stored = image.size
                found = oriented(image, size)
                if found is not None:
                    return to_rgb(found)
    except Exception as error:  # decoders raise nearly every exception type on damaged files
        raise DataError(f'image {path} cannot be read: {type(error).__name__}: {error}') from error
    raise DataError(describe(stored))


def shape_of(image: Image.Image | np.ndarray) -> tuple[int, int]:
    """Height and width in pixels."""
    return image.shape[:2] if isinstance(image, np.ndarray) else image.size[::-1]

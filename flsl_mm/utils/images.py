"""Sizes of whole images, and the pixel statistics that networks expect."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

LONGEST = 4  # of the short side, so that a panorama does not exhaust the memory


def short_side_scale(size: Sequence[int], short_side: int) -> float:
    """The factor that resizes an image to a short side in pixels.

    Smaller where the long side would be more than four times ``short_side``, which it is then.

    Args:
        size: Both sides of the image in pixels, in any order.
        short_side: Of the resized image, in pixels.
    """
    short, long = sorted(size)
    return min(short_side / short, LONGEST * short_side / long)


# Of the channels R, G, B, of pixels in 0-255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def normalize(
    images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """A network's input of images.

    Args:
        images: RGB (..., 3, H, W), integers or float32, values in 0-255.
        mean: Of the channels, in 0-255.
        std: Their standard deviations.

    Returns:
        Tensor: float32, of the same shape and on the same device.
    """
    shift, scale = (
        torch.tensor(values).view(3, 1, 1).to(images.device, non_blocking=True)
        for values in (mean, std)
    )
    return (images - shift) / scale


Item = TypeVar('Item')


def evenly_spaced(items: Sequence[Item], number: int) -> list[Item]:
    """At most ``number`` of the items, evenly spaced from the first; ``number`` is at least 1."""
    count = min(number, len(items))
    return [items[i * len(items) // count] for i in range(count)]

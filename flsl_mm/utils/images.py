"""Sizes of whole images, and the pixel statistics that networks expect.

Tools that never need torch read images, too: what needs it here imports it when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

from .counts import counted
from .errors import ConfigError, DataError

if TYPE_CHECKING:
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


def check_statistics(
    mean: Sequence[float], std: Sequence[float], channels: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The pixel statistics of a run, as numbers.

    Args:
        mean: Of each channel, in 0-255.
        std: Their standard deviations.
        channels: Of the network; None for as many as there are.

    Raises:
        ConfigError: They are not of so many channels, or no such numbers.
    """
    wanted = max(1, len(mean)) if channels is None else channels
    if len(mean) != wanted or len(std) != wanted:
        raise ConfigError(
            f'data_preprocessor: mean has {len(mean)} numbers and std {len(std)}, one is needed '
            f'for each of the {wanted or "network"} channels'
        )
    try:
        mean, std = tuple(map(float, mean)), tuple(map(float, std))
        fit = all(map(isfinite, (*mean, *std))) and min(std) > 0
    except (TypeError, ValueError):
        fit = False
    if not fit:
        raise ConfigError(
            f'data_preprocessor: mean and std must be numbers, std > 0, got {mean}, {std}'
        )
    return mean, std


def other_channels(found: int, wanted: int) -> str:
    """For messages: how many channels images have, and how many the network takes."""
    return (
        f'{counted(found, "channel")}, and {wanted} '
        f"{'is' if wanted == 1 else 'are'} wanted (the network's in_channels)"
    )


def check_input(found: int, wanted: int) -> None:
    """Refuse images of other channels than a network takes.

    Raises:
        DataError: They are.
    """
    if found != wanted:
        raise DataError(f'the images have {other_channels(found, wanted)}')


def normalize(
    images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """A network's input of images.

    Args:
        images: (..., C, H, W), R, G, B first, integers or float32, values in 0-255.
        mean: Of the channels, in 0-255.
        std: Their standard deviations.

    Returns:
        Tensor: float32, of the same shape and on the same device.

    Raises:
        DataError: The images have other channels.
    """
    import torch

    check_input(images.shape[-3], len(mean))
    shift, scale = (
        torch.tensor(values).view(-1, 1, 1).to(images.device, non_blocking=True)
        for values in (mean, std)
    )
    return (images - shift) / scale


Item = TypeVar('Item')


def evenly_spaced(items: Sequence[Item], number: int) -> list[Item]:
    """At most ``number`` of the items, evenly spaced from the first; ``number`` is at least 1."""
    count = min(number, len(items))
    return [items[i * len(items) // count] for i in range(count)]

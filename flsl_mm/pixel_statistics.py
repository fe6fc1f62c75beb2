"""What networks pretrained on ImageNet expect of pixels."""

import torch
from torch import Tensor

# Of the channels R, G, B, of pixels in 0-255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def normalise(images: Tensor) -> Tensor:
    """A network's input of images, by ImageNet's statistics.

    Args:
        images: RGB (..., 3, H, W), integers or float32, values in 0-255.

    Returns:
        Tensor: float32, of the same shape and on the same device.
    """
    mean, std = (
        torch.tensor(values, device=images.device).view(3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (images - mean) / std

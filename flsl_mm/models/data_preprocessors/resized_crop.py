"""Crop and resize each image of a batch by its own box: antialiased bicubic, as PIL's.

Two forms of one function: on a CPU torch's 8-bit kernel, image by image; on other devices two
batched matrix products, which need no loop and no synchronization. They differ by the 8-bit
rounding of the former.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.devices import send


def resized_crops(images: Tensor, boxes: Sequence[Tensor], size: int) -> list[Tensor]:
    """Crop every image by one box of its own after the other, and resize the crops to squares.

    Args:
        images: Pixels (B, C, H, W): uint8 on a CPU, else float32 in [0, 1].
        boxes: For each crop x1, y1, x2, y2 in pixels (B, 4), integers inside the image, on the CPU.
        size: Side of the results in pixels.

    Returns:
        list[Tensor]: Crops (B, C, size, size) on the device of ``images``, of their type; on a CPU
        they are channels last in memory.
    """
    if images.is_cpu:
        return [resized_crop_looped(images, box, size) for box in boxes]
    return list(resized_crops_batched(images, torch.stack(list(boxes)), size))


def channels_last(images: Tensor) -> Tensor:
    """Images (B, C, H, W), uint8 on the CPU, with the channels last in memory.

    Torch's 8-bit resizing is twice as fast on them; its own conversion is slower than that.
    """
    count, channels, height, width = images.shape
    pixels = np.empty((count, height, width, channels), np.uint8)
    for planes, target in zip(images.numpy(), pixels):
        cv2.merge(list(planes), target)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def resized_crop_looped(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """One of :func:`resized_crops`, image by image in 8 bits."""
    shape = len(images), size, size, images.shape[1]
    crops = torch.empty(shape, dtype=torch.uint8).permute(0, 3, 1, 2)
    # batches of one: torch sees channels last in those only
    for image, (x1, y1, x2, y2), crop in zip(images.split(1), boxes.tolist(), crops.split(1)):
        box = image[..., y1:y2, x1:x2]
        crop.copy_(F.interpolate(box, (size, size), mode='bicubic', antialias=True))
    return crops


def resized_crops_batched(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """:func:`resized_crops` as one matrix product along rows and one along columns, in float32.

    Args:
        images: (B, C, H, W) in [0, 1].
        boxes: (V, B, 4), on the CPU.
        size: Side in pixels.

    Returns:
        Tensor: (V, B, C, size, size).
    """
    height, width = images.shape[-2:]
    # (V, B, start or stop, x or y)
    edges = send(boxes.float(), images.device).unflatten(-1, (2, 2))
    if height == width:  # both axes together
        columns, rows = resample_weights(*edges.unbind(2), width, size).unbind(2)
    else:
        (x1, y1), (x2, y2) = (edge.unbind(-1) for edge in edges.unbind(2))
        columns = resample_weights(x1, x2, width, size)
        rows = resample_weights(y1, y2, height, size)
    crops = images @ columns.unsqueeze(2).mT  # (V, B, C, H, size)
    crops = rows.unsqueeze(2) @ crops.clamp_(0, 1)  # 8-bit resizing clips between the axes too
    return crops.clamp_(0, 1)


def resample_weights(start: Tensor, stop: Tensor, in_size: int, out_size: int) -> Tensor:
    """Matrix that crops to [start, stop) and resizes along one axis.

    Bicubic with a = -0.5; when shrinking, the kernel is as many times wider as the step is longer
    than a pixel. Taps outside the box are left out and the others weigh more, as if the crop were
    an image of its own.

    Args:
        start: First pixel of each box (...).
        stop: One past the last pixel of each box (...).
        in_size: Pixels along the axis before.
        out_size: Pixels along the axis after.

    Returns:
        Tensor: Weights (..., out_size, in_size), float32; every row sums to 1.
    """
    step = (stop - start) / out_size
    pixels = torch.arange(in_size, device=start.device)
    centers = torch.arange(out_size, device=start.device) + 0.5
    centers = start[..., None] + centers * step[..., None]  # (..., out)
    distance = (pixels + 0.5 - centers[..., None]).div_(step.clamp(min=1)[..., None, None])
    weights = keys_cubic(distance.abs_())
    inside = (pixels >= start[..., None]) & (pixels < stop[..., None])  # (..., in)
    weights = weights * inside[..., None, :]
    return weights / weights.sum(-1, keepdim=True)


def keys_cubic(distance: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic kernel at non-negative distances in (scaled) pixels."""
    near = ((a + 2) * distance - (a + 3)) * distance.square() + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))

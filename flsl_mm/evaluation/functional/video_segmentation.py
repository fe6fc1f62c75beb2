"""Frames in and masks out of DINO's and FLSL's DAVIS protocol."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...utils.errors import ConfigError, DataError
from .davis import VOID

# The third digit of the first deviation is a historic typo that all published figures share.
# Of the channels R, G, B, of pixels in 0-255.
DAVIS_STATISTICS = (123.675, 116.28, 103.53), (58.14, 57.12, 57.375)
_MULTIPLE = 64


def input_size(height: int, width: int, short_side: int, patch_size: int) -> tuple[int, int]:
    """Height and width that a frame is resized to.

    The short side becomes ``short_side``, the other keeps the ratio and is floored to a multiple of
    64; then both are floored to whole patches, which changes nothing for patches of 8 and 16.

    Args:
        height: In pixels.
        width: In pixels.
        short_side: In pixels.
        patch_size: In pixels.

    Raises:
        ConfigError: Not one patch remains.
    """
    long_side = short_side * max(height, width) // min(height, width) // _MULTIPLE * _MULTIPLE
    short_side, long_side = (side // patch_size * patch_size for side in (short_side, long_side))
    if not short_side or not long_side:
        raise ConfigError(f'frames of {width} x {height} pixels leave no patch of {patch_size}')
    return (long_side, short_side) if height > width else (short_side, long_side)


def prepare_frame(
    frame: np.ndarray,
    size: tuple[int, int],
    statistics: tuple[Sequence[float], Sequence[float]] = DAVIS_STATISTICS,
) -> Tensor:
    """Resize and normalize a frame.

    Args:
        frame: RGB (H, W, 3) uint8.
        size: From :func:`input_size`.
        statistics: Mean and deviation of the channels, of pixels in 0-255.

    Returns:
        Tensor: (1, 3, *size) float32.
    """
    # Bilinear without anti-aliasing, on 8-bit values, as the protocol does it.
    pixels = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
    mean, deviation = (np.float32(np.float64(values) / 255) for values in statistics)
    pixels = (pixels - mean) / deviation
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)


def first_labels(mask: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """One-hot labels of the given mask, on the token grid.

    Args:
        mask: (H, W) uint8 object ids; 0 and 255 are background.
        grid: Rows h and columns w of tokens.

    Returns:
        Tensor: (C, h, w) float32; C is the highest id plus 1. An object smaller than a token may
        have none: it is lost, as in the published protocol.

    Raises:
        DataError: There is no object.
    """
    mask = np.where(mask == VOID, 0, mask).astype(np.uint8)
    if not mask.any():
        raise DataError('the mask of the first frame has no object')
    small = np.array(Image.fromarray(mask).resize(grid[::-1], Image.Resampling.NEAREST))
    return F.one_hot(torch.from_numpy(small).long(), int(mask.max()) + 1).permute(2, 0, 1).float()


def labels_to_mask(labels: Tensor, patch_size: int, size: tuple[int, int]) -> np.ndarray:
    """Object ids of a frame from its propagated labels.

    Bilinear upsampling to pixels, min-max scaling of each channel, arg-max, nearest neighbor to
    the frame's own size.

    Args:
        labels: (C, h, w).
        patch_size: In pixels.
        size: Height and width of the frame.

    Returns:
        np.ndarray: (H, W) uint8.
    """
    maps = F.interpolate(labels[None], scale_factor=patch_size, mode='bilinear')[0]
    low, high = maps.aminmax(dim=-1)
    low, high = low.amin(-1)[:, None, None], high.amax(-1)[:, None, None]
    # A channel that is the same everywhere says nothing; it becomes 0.
    maps = (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    ids = maps.argmax(0).to(torch.uint8).cpu().numpy()
    return np.array(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))

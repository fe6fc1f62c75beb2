"""Random crop geometry, shared by the teacher crop (worker) and the student views (device)."""

import numpy as np

from flsl_mm.config_error import ConfigError

CROP_TRIES = 10
CROP_UNIFORMS = 2 * CROP_TRIES + 2
"""Uniform numbers that one crop consumes."""
RATIO = (3 / 4, 4 / 3)
"""Range of a crop's width over height, torchvision's."""


def check_crop_range(name: str, size: int, scale: tuple[float, float]) -> None:
    """Refuse settings of a random resized crop that cannot be meant.

    Args:
        name: What the settings belong to, for the message.
        size: Side of the resized crop in pixels.
        scale: Smallest and largest share of the area.

    Raises:
        ConfigError: The size is below 1, or the scale is not ``0 < low <= high <= 1``.
    """
    if size < 1:
        raise ConfigError(f'{name}: size must be at least 1 pixel, got {size}')
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(
            f'{name}: scale must be (low, high) with 0 < low <= high <= 1, got {scale}'
        )


def sample_crop_boxes(
    height: int, width: int, scale: tuple[float, float], uniforms: np.ndarray
) -> np.ndarray:
    """Crop boxes with the distribution of torchvision's ``RandomResizedCrop``.

    Area uniform in ``scale``, log aspect ratio uniform in :data:`RATIO`; the first of ten tries
    that fits is placed uniformly, and where none fits the largest centred box with an allowed ratio
    is taken.

    Args:
        height: Rows of the image in pixels.
        width: Columns of the image in pixels.
        scale: Range of the share of the area.
        uniforms: Random numbers in [0, 1), (N, :data:`CROP_UNIFORMS`).

    Returns:
        np.ndarray: Integer boxes x1, y1, x2, y2 in pixels (N, 4), at least 1 x 1, inside the image.
    """
    tries = uniforms[:, : 2 * CROP_TRIES].reshape(-1, CROP_TRIES, 2)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * tries[..., 0])
    low, high = np.log(RATIO)
    aspect = np.exp(low + (high - low) * tries[..., 1])
    widths = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    heights = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.argmax(axis=1)  # 0 where none fits; replaced below
    rows = np.arange(len(uniforms))
    widths, heights = widths[rows, first], heights[rows, first]
    lefts = np.floor(uniforms[:, -2] * (width - widths + 1)).astype(np.int64)
    tops = np.floor(uniforms[:, -1] * (height - heights + 1)).astype(np.int64)
    boxes = np.stack([lefts, tops, lefts + widths, tops + heights], axis=1)
    boxes[~fits.any(axis=1)] = _centre_box(height, width)
    return boxes


def _centre_box(height: int, width: int) -> list[int]:
    """The largest centred box x1, y1, x2, y2 with an allowed aspect ratio."""
    box_width, box_height = width, height
    if width / height < RATIO[0]:
        box_height = max(1, round(width / RATIO[0]))
    elif width / height > RATIO[1]:
        box_width = max(1, round(height * RATIO[1]))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return [left, top, left + box_width, top + box_height]

"""The one crop that leaves a worker: cut from the image, packed, and its box in the image."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample

from ...utils.errors import ConfigError

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
    that fits is placed uniformly, and where none fits the largest centered box with an allowed
    ratio is taken.

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
    boxes[~fits.any(axis=1)] = _center_box(height, width)
    return boxes


def _center_box(height: int, width: int) -> list[int]:
    """The largest centered box x1, y1, x2, y2 with an allowed aspect ratio."""
    box_width, box_height = width, height
    if width / height < RATIO[0]:
        box_height = max(1, round(width / RATIO[0]))
    elif width / height > RATIO[1]:
        box_width = max(1, round(height * RATIO[1]))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return [left, top, left + box_width, top + box_height]


@TRANSFORMS.register_module()
class RandomTeacherCrop(BaseTransform):
    """Cut the teacher's view out of the image: a random resized crop, before any photometry.

    Student and local views are cut from it later, on the training device (paper, Appendix E.3:
    every query exists in the teacher view). Antialiased bicubic, as PIL and torchvision; the taps
    stay inside the crop.

    Required keys: ``img``, ``ori_shape``, ``reduction`` and ``min_side`` from
    :class:`LoadRGBImage`, and ``rng`` (:class:`numpy.random.Generator`). Changed key: ``img``
    (size, size, C) uint8. Added key: ``teacher_box``, x1, y1, x2, y2 in pixels of the upright
    original. Of an image that was decoded ``reduction`` times smaller, the box is widened to whole
    pixels of that.

    Args:
        size: Side of the crop after resizing, in pixels.
        scale: Range of the crop's share of the image area.

    Raises:
        ConfigError: Wrong size or range, or a ``min_side`` of :class:`LoadRGBImage` at which crops
            could be smaller than ``size``.
    """

    def __init__(self, size: int = 224, scale: tuple[float, float] = (0.8, 1.0)) -> None:
        check_crop_range('RandomTeacherCrop', size, scale)
        self.size = size
        self.scale = tuple(scale)
        # of an image with this short side no crop is smaller than size
        self.min_side = math.ceil(size / math.sqrt(scale[0] * min(RATIO[0], 1 / RATIO[1])))

    def transform(self, results: dict) -> dict:
        """Crop ``results['img']``."""
        if results['min_side'] is not None and results['min_side'] < self.min_side:
            raise ConfigError(
                f'LoadRGBImage: min_side must be at least {self.min_side} for {self}, '
                f'got {results["min_side"]}'
            )
        image, (height, width) = results['img'], results['ori_shape']
        uniforms = results['rng'].random((1, CROP_UNIFORMS))
        box = sample_crop_boxes(height, width, self.scale, uniforms)[0].tolist()
        box, results['teacher_box'] = snap_box(box, results['reduction'], (height, width))
        x1, y1, x2, y2 = box
        # (1, C, H, W) with channels last in memory: torch's 8-bit kernel, ten times PIL's speed.
        # The batch's axis before the permutation: else the result has channels first.
        crop = torch.from_numpy(image)[None].permute(0, 3, 1, 2)[..., y1:y2, x1:x2]
        crop = F.interpolate(crop, (self.size, self.size), mode='bicubic', antialias=True)
        results['img'] = crop[0].permute(1, 2, 0).numpy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, scale={self.scale})'


def snap_box(
    box: Sequence[int], reduction: int, shape: tuple[int, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widen a box to whole pixels of an image that was decoded ``reduction`` times smaller.

    Args:
        box: x1, y1, x2, y2 in pixels of the original.
        reduction: Pixels of the original per decoded pixel, along each axis; the last decoded
            pixel may stand for fewer.
        shape: Height and width of the original.

    Returns:
        tuple: The box in decoded pixels and the same in pixels of the original.
    """
    x1, y1, x2, y2 = box
    inner = (x1 // reduction, y1 // reduction, -(-x2 // reduction), -(-y2 // reduction))
    x1, y1, x2, y2 = (value * reduction for value in inner)
    return inner, (x1, y1, min(x2, shape[1]), min(y2, shape[0]))


@TRANSFORMS.register_module()
class PackTeacherCrop(BaseTransform):
    """Pack the teacher crop, as 8-bit pixels, and where it came from.

    Required keys: ``img`` (H, W, C) uint8, ``img_path``, ``ori_shape``, ``teacher_box``,
    ``broken``. The packed dict holds ``inputs`` (C, H, W) uint8 and ``data_samples``, a
    :class:`mmpretrain.structures.DataSample` whose meta information are the other keys:

    - ``img_path``: The file.
    - ``ori_shape``: Height and width in pixels of the upright original.
    - ``teacher_box``: x1, y1, x2, y2 of the crop in pixels of the upright original.
    - ``broken``: Path and reason of every unreadable image this one stands in for.
    """

    META_KEYS = ('img_path', 'ori_shape', 'teacher_box', 'broken')

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        image = results['img']
        pixels = np.empty((image.shape[2], *image.shape[:2]), np.uint8)
        cv2.split(image, list(pixels))  # a tenth of the time of numpy's transpose
        metainfo = {key: results[key] for key in self.META_KEYS}
        return dict(inputs=torch.from_numpy(pixels), data_samples=DataSample(metainfo=metainfo))

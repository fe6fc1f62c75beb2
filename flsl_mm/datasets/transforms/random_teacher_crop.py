"""The one crop that every view of an image is cut from."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from flsl_mm.config_error import ConfigError

from .crop_boxes import CROP_UNIFORMS, RATIO, check_crop_range, sample_crop_boxes


@TRANSFORMS.register_module()
class RandomTeacherCrop(BaseTransform):
    """Cut the teacher's view out of the image: a random resized crop, before any photometry.

    Student and local views are cut from it later, on the training device (paper, Appendix E.3:
    every query exists in the teacher view). Antialiased bicubic, as PIL and torchvision; the taps
    stay inside the crop.

    Required keys: ``img``, ``ori_shape``, ``reduction`` and ``min_side`` from
    :class:`LoadRGBImage`, and ``rng`` (:class:`numpy.random.Generator`). Changed key: ``img``
    (size, size, 3) uint8. Added key: ``teacher_box``, x1, y1, x2, y2 in pixels of the upright
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
        # (1, 3, H, W) with channels last in memory: torch's 8-bit kernel, ten times PIL's speed.
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

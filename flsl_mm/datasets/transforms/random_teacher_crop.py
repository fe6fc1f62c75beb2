"""The one crop that every view of an image is cut from."""

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from .crop_boxes import CROP_UNIFORMS, check_crop_range, sample_crop_boxes


@TRANSFORMS.register_module()
class RandomTeacherCrop(BaseTransform):
    """Cut the teacher's view out of the image: a random resized crop, before any photometry.

    Student and local views are cut from it later, on the training device (paper, Appendix E.3:
    every query exists in the teacher view). Antialiased bicubic, as PIL and torchvision; the taps
    stay inside the crop.

    Required keys: ``img`` (PIL image, RGB) and ``rng`` (:class:`numpy.random.Generator`). Changed
    key: ``img`` (size, size, 3) uint8. Added key: ``teacher_box``, x1, y1, x2, y2 in pixels of
    the upright original.

    Args:
        size: Side of the crop after resizing, in pixels.
        scale: Range of the crop's share of the image area.
        ratio: Range of the crop's width over height.

    Raises:
        ValueError: Wrong size or range.
    """

    def __init__(
        self,
        size: int = 224,
        scale: tuple[float, float] = (0.8, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        check_crop_range('RandomTeacherCrop', size, scale, ratio)
        self.size = size
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)

    def transform(self, results: dict) -> dict:
        """Crop ``results['img']``."""
        image = results['img']
        uniforms = results['rng'].random((1, CROP_UNIFORMS))
        box = sample_crop_boxes(image.height, image.width, self.scale, self.ratio, uniforms)[0]
        box = tuple(box.tolist())
        # (1, 3, H, W) with channels last in memory: torch's 8-bit kernel, ten times PIL's speed
        crop = torch.from_numpy(np.array(image.crop(box))).permute(2, 0, 1)[None]
        crop = F.interpolate(crop, (self.size, self.size), mode='bicubic', antialias=True)
        results['img'] = crop[0].permute(1, 2, 0).numpy()
        results['teacher_box'] = box
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio})'

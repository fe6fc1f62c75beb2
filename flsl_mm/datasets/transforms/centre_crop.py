"""Cropping that carries boxes along."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CentreCrop(BaseTransform):
    """Cut a square out of the middle.

    Same place as torchvision's ``CenterCrop``. Boxes are moved and clipped to the crop; one that
    lies outside keeps no area.

    Required keys: ``img`` (H, W, 3) uint8 and, optionally, ``boxes`` (K, 4). Both are changed.

    Args:
        size: Side of the crop in pixels; an image must not be smaller.

    Raises:
        ValueError: The image is smaller than the crop.
    """

    def __init__(self, size: int = 224) -> None:
        if size < 1:
            raise ValueError(f'CentreCrop: size must be at least 1 pixel, got {size}')
        self.size = size

    def transform(self, results: dict) -> dict:
        """Crop ``results['img']``."""
        height, width = results['img'].shape[:2]
        if min(width, height) < self.size:
            raise ValueError(
                f'CentreCrop: an image of {width} x {height} pixels has no crop of {self.size}'
            )
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        results['img'] = results['img'][top : top + self.size, left : left + self.size]
        if 'boxes' in results:
            moved = results['boxes'] - np.array([left, top, left, top])
            results['boxes'] = moved.clip(0, self.size)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'

"""Resizing that carries boxes along."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image


@TRANSFORMS.register_module()
class ResizeShortSide(BaseTransform):
    """Resize the short side to a length and keep the proportions; bicubic, antialiased.

    Same sizes as torchvision's ``Resize``: the long side is rounded down.

    Required keys: ``img`` (H, W, 3) uint8 and, optionally, ``boxes`` (K, 4). Both are changed.

    Args:
        size: Pixels of the short side.
    """

    def __init__(self, size: int = 256) -> None:
        if size < 1:
            raise ValueError(f'ResizeShortSide: size must be at least 1 pixel, got {size}')
        self.size = size

    def transform(self, results: dict) -> dict:
        """Resize ``results['img']``."""
        height, width = results['img'].shape[:2]
        short = min(width, height)
        new = (int(self.size * width / short), int(self.size * height / short))
        image = Image.fromarray(results['img'])
        results['img'] = np.asarray(image.resize(new, Image.Resampling.BICUBIC))
        if 'boxes' in results:
            # Not by size / short: rounding down made the long side a little shorter.
            scale = np.array([new[0] / width, new[1] / height])
            results['boxes'] = results['boxes'] * np.tile(scale, 2)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'

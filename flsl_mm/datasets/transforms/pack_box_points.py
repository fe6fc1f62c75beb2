"""From a result dict to what a worker sends to the evaluation."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackBoxPoints(BaseTransform):
    """Pack an image as 8-bit pixels, and the points of its box.

    Required keys: ``img`` (H, W, 3) uint8, ``points`` (n, 2) and ``box_class``. The packed dict
    holds ``inputs`` (3, H, W) uint8, ``points`` float64 (n, 2) and ``box_class``.
    """

    def transform(self, results: dict) -> dict:
        """Pack ``results``."""
        pixels = results['img'].transpose(2, 0, 1)
        return dict(
            inputs=torch.from_numpy(np.ascontiguousarray(pixels)),
            points=torch.from_numpy(results['points']),
            box_class=results['box_class'],
        )

"""From a result dict to what a worker sends to the trainer."""

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample


@TRANSFORMS.register_module()
class PackTeacherCrop(BaseTransform):
    """Pack the teacher crop, as 8-bit pixels, and where it came from.

    Required keys: ``img`` (H, W, 3) uint8, ``img_path``, ``ori_shape``, ``teacher_box``,
    ``broken``. The packed dict holds ``inputs`` (3, H, W) uint8 and ``data_samples``, a
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
        pixels = np.empty((3, *image.shape[:2]), np.uint8)
        cv2.split(image, list(pixels))  # a tenth of the time of numpy's transpose
        metainfo = {key: results[key] for key in self.META_KEYS}
        return dict(inputs=torch.from_numpy(pixels), data_samples=DataSample(metainfo=metainfo))

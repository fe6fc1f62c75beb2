"""One object of each image, found without labels."""

from typing import Any

import numpy as np
import torch

from ...models import FrozenViT
from ...registry import FROZEN_TASKS
from ...utils.errors import DataError
from ..functional.object_discovery import box_iou, discover_object
from .dense_images import DenseImage
from .dense_task import DenseTask
from .frozen_task import sum_processes


@FROZEN_TASKS.register_module()
class ObjectDiscovery(DenseTask):
    """Single-object discovery as LOST does it, by CorLoc.

    CorLoc is the share of images whose one box has an IoU of at least 0.5 with some annotated box.
    Images without annotated boxes are left out and counted. Arguments as of :class:`DenseTask`;
    ``train`` is not used.
    """

    name = 'discovery'
    headline = 'CorLoc'

    def start(self, vit: FrozenViT) -> None:
        """Forget earlier images."""
        device = next(vit.parameters()).device
        self._counts = torch.zeros(3, dtype=torch.long, device=device)  # found, with boxes, without

    def update(self, image: DenseImage) -> None:
        """Find an object and compare its box."""
        if not len(image.boxes):
            self._counts[2] += 1
            return
        box = discover_object(image.tokens, image.grid)
        height, width = image.labels.shape
        rows, columns = image.grid
        box = box * np.array([width / columns, height / rows] * 2)
        self._counts[0] += int(box_iou(box, image.boxes).max() >= 0.5)
        self._counts[1] += 1

    def finish(self) -> dict[str, Any]:
        """``CorLoc`` in percent; in the details how many images had boxes, and how many none."""
        found, images, without = sum_processes(self._counts).tolist()
        if not images:
            raise DataError('discovery: none of the images to evaluate has a box')
        details = dict(images=images, images_without_box=without)
        return dict(CorLoc=100 * found / images, details=details)

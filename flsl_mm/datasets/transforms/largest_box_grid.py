"""From boxes to the points whose tokens stand for the object."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ..unusable_sample import Unusable, UnusableSample


@TRANSFORMS.register_module()
class LargestBoxGrid(BaseTransform):
    """Centres of the cells of a grid over the largest box that is left after cropping.

    Required keys: ``boxes`` (K, 4), clipped to the image, and ``box_classes``. Added keys:
    ``points``, float64 (cells * cells, 2), x and y in pixels, row by row; ``box_class``, the name
    of that box.

    Args:
        cells: Cells of a side of the grid.

    Raises:
        ValueError: ``cells`` is below 1.
        UnusableSample: No box has any area left.
    """

    def __init__(self, cells: int = 3) -> None:
        if cells < 1:
            raise ValueError(f'LargestBoxGrid: cells must be at least 1, got {cells}')
        self.cells = cells

    def transform(self, results: dict) -> dict:
        """Place the points."""
        boxes = results['boxes']
        sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
        largest = int(sides.prod(axis=1).argmax())  # the first of equally large ones
        if not sides[largest].all():
            message = f'none of its {len(boxes)} boxes reaches into the crop'
            raise UnusableSample(Unusable.BOX_OUTSIDE_CROP, message)
        steps = (np.arange(self.cells) + 0.5) / self.cells
        offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        results['points'] = boxes[largest, :2] + offsets * sides[largest]
        results['box_class'] = results['box_classes'][largest]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(cells={self.cells})'

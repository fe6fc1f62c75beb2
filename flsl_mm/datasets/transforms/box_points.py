"""Images with boxes for box-aligned k-NN: loaded, resized, cropped, points taken."""

from contextlib import redirect_stdout
from io import StringIO
from xml.etree import ElementTree

import numpy as np
import torch
from mmcv.transforms import BaseTransform, CenterCrop
from mmpretrain.registry import TRANSFORMS

from ...utils.errors import ConfigError
from ...utils.token_grid import token_center
from ..unusable_sample import Unusable, UnusableSample

with redirect_stdout(StringIO()):  # where it prints which of its own data sets it lacks
    from mmpretrain.datasets import ResizeEdge

CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
SIZE_TOLERANCE = 0.02


@TRANSFORMS.register_module()
class LoadImageNetBoxes(BaseTransform):
    """Read the CLS-LOC boxes of an image from its XML file.

    Boxes count in pixels of the ``size`` that the file records, which for some images is not
    that of the image file; they are scaled to the latter. Where the two have other proportions
    (a rotated image), nobody knows where the box is.

    Required keys: ``ann_path`` and ``ori_shape``. Added keys: ``boxes``, float64 (K, 4) x1, y1,
    x2, y2 in pixels of the image, not clipped to it; ``box_classes``, K names (WordNet ids).

    Raises:
        UnusableSample: The file is damaged, has no boxes, or records another shape.
    """

    def transform(self, results: dict) -> dict:
        """Read ``results['ann_path']``."""
        try:
            root = ElementTree.parse(results['ann_path']).getroot()
            size = [float(root.find(f'size/{name}').text) for name in ('width', 'height')]
            names = [node.findtext('name').strip() for node in root.findall('object')]
            corners = [
                [float(node.find(f'bndbox/{name}').text) for name in CORNERS]
                for node in root.findall('object')
            ]
        except (OSError, ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
            message = f'annotation {results["ann_path"]} cannot be read ({error})'
            raise UnusableSample(Unusable.BAD_ANNOTATION, message) from error
        if not corners:
            raise UnusableSample(Unusable.NO_BOX, f'annotation {results["ann_path"]} has no box')
        results['boxes'] = np.array(corners) * np.tile(_pixel_scale(size, results), 2)
        results['box_classes'] = names
        return results


def _pixel_scale(size: list[float], results: dict) -> np.ndarray:
    """Pixels of the image in a pixel of the annotation, horizontally and vertically (2,)."""
    actual = np.array(results['ori_shape'][::-1], float)
    if not all(value > 0 for value in size):
        message = f'annotation {results["ann_path"]} has a size of {size[0]:g} x {size[1]:g}'
        raise UnusableSample(Unusable.BAD_ANNOTATION, message)
    scale = actual / size
    if abs(scale[0] / scale[1] - 1) > SIZE_TOLERANCE:
        raise UnusableSample(
            Unusable.OTHER_SIZE,
            f'annotation {results["ann_path"]} is for {size[0]:g} x {size[1]:g} pixels, the image '
            f'has {actual[0]:g} x {actual[1]:g}',
        )
    return scale


@TRANSFORMS.register_module()
class ResizeShortSide(ResizeEdge):
    """mmpretrain's ``ResizeEdge`` that resizes boxes too: bicubic, antialiased, by the short side.

    Same sizes as torchvision's ``Resize``: the long side is rounded down.

    Required keys: ``img`` (H, W, 3) uint8 and, optionally, ``boxes`` (K, 4). Both are changed.

    Args:
        size: Pixels of the short side.
    """

    def __init__(self, size: int = 256) -> None:
        if size < 1:
            raise ConfigError(f'ResizeShortSide: size must be at least 1 pixel, got {size}')
        super().__init__(size, edge='short', backend='pillow', interpolation='bicubic')

    def transform(self, results: dict) -> dict:
        """Resize ``results['img']``."""
        results = super().transform(results)
        if 'boxes' in results:
            # Not one factor: rounding down made the long side a little shorter.
            results['boxes'] = results['boxes'] * np.tile(results['scale_factor'], 2)
        return results


# The other name is that in configs of earlier runs.
@TRANSFORMS.register_module(name=['CenterCropBoxes', 'CentreCrop'])
class CenterCropBoxes(CenterCrop):
    """mmcv's ``CenterCrop`` to a square, which an image must not be smaller than.

    Boxes are moved and clipped to the crop; one that lies outside keeps no area.

    Required keys: ``img`` (H, W, 3) uint8 and, optionally, ``boxes`` (K, 4). Both are changed.

    Args:
        size: Side of the crop in pixels; an image must not be smaller.

    Raises:
        ConfigError: The image is smaller than the crop.
    """

    def __init__(self, size: int = 224) -> None:
        if size < 1:
            raise ConfigError(f'CenterCropBoxes: size must be at least 1 pixel, got {size}')
        super().__init__(size)
        self.size = size

    def transform(self, results: dict) -> dict:
        """Crop ``results['img']``."""
        height, width = results['img'].shape[:2]
        if min(width, height) < self.size:
            raise ConfigError(
                f'CenterCropBoxes: an image of {width} x {height} pixels has no crop of {self.size}'
            )
        return super().transform(results)

    def _crop_bboxes(self, results: dict, bboxes: np.ndarray) -> None:
        """Move and clip what mmcv calls ``gt_bboxes``."""
        if 'boxes' in results:
            moved = dict(img=results['img'], gt_bboxes=results['boxes'])
            super()._crop_bboxes(moved, bboxes)
            results['boxes'] = moved['gt_bboxes']


@TRANSFORMS.register_module()
class LargestBoxGrid(BaseTransform):
    """Centers of the cells of a grid over the largest box that is left after cropping.

    Required keys: ``boxes`` (K, 4), clipped to the image, and ``box_classes``. Added keys:
    ``points``, float64 (cells * cells, 2), x and y in pixels, row by row; ``box_class``, the name
    of that box.

    Args:
        cells: Cells of a side of the grid.

    Raises:
        ConfigError: ``cells`` is below 1.
        UnusableSample: No box has any area left.
    """

    def __init__(self, cells: int = 3) -> None:
        if cells < 1:
            raise ConfigError(f'LargestBoxGrid: cells must be at least 1, got {cells}')
        self.cells = cells

    def transform(self, results: dict) -> dict:
        """Place the points."""
        boxes = results['boxes']
        sides = (boxes[:, 2:] - boxes[:, :2]).clip(min=0)
        largest = int(sides.prod(axis=1).argmax())  # the first of equally large ones
        if not sides[largest].all():
            message = f'none of its {len(boxes)} boxes reaches into the crop'
            raise UnusableSample(Unusable.BOX_OUTSIDE_CROP, message)
        centers = token_center(np.arange(self.cells**2), (self.cells, self.cells))
        offsets = np.stack(centers, axis=-1)
        results['points'] = boxes[largest, :2] + offsets * sides[largest]
        results['box_class'] = results['box_classes'][largest]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(cells={self.cells})'


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

"""Boxes of ILSVRC's localisation task."""

from xml.etree import ElementTree

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ..unusable_sample import Unusable, UnusableSample

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
        results['boxes'] = np.array(corners) * np.tile(_scale(size, results), 2)
        results['box_classes'] = names
        return results


def _scale(size: list[float], results: dict) -> np.ndarray:
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

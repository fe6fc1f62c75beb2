"""Images with instances in a COCO-style file, as labels of pixels; needs pycocotools."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from ..utils.errors import DataError
from .coco_entries import check_categories, check_entries, check_images
from .labeled_images import IGNORED, LabeledImage, LabeledImages, read_image

NEEDED = dict(
    images=('id', 'file_name'),
    categories=('id',),
    annotations=('image_id', 'category_id', 'bbox', 'segmentation'),
)


@DATASETS.register_module()
class InstanceImages(LabeledImages):
    """Images and their instances: class 0 is what no instance covers, then the categories by id.

    Where instances overlap, a pixel has the class of the smallest. Pixels of crowd regions alone
    are ignored. The boxes are those of the instances that are no crowds.

    Args:
        ann_file: COCO-style JSON with polygons or RLE.
        images: Folder that the ``file_name`` entries are relative to.
        max_images: Take only so many, evenly spaced.

    Raises:
        FileNotFoundError: The file, the folder or an image is missing.
        DataError: It is no such file, has no images or no instances, or pycocotools is missing.
    """

    def __init__(self, ann_file: str, images: str, max_images: int | None = None) -> None:
        _mask_api()
        content = _read(ann_file)
        self.ann_file = ann_file
        self.classes = {
            category['id']: label
            for label, category in enumerate(
                sorted(content['categories'], key=lambda category: category['id']), 1
            )
        }
        self._instances: dict[Any, list[Mapping[str, Any]]] = {
            image['id']: [] for image in content['images']
        }
        for annotation in content['annotations']:
            self._instances[annotation['image_id']].append(annotation)
        samples = sorted(content['images'], key=lambda image: image['id'])
        samples = [dict(s, path=os.path.join(images, s['file_name'])) for s in samples]
        missing = [s['path'] for s in samples if not os.path.isfile(s['path'])]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(samples)} images of {ann_file} are missing, the first is '
                f'{missing[0]}'
            )
        super().__init__(samples, len(self.classes) + 1, max_images)
        self._instances = {s['id']: self._instances[s['id']] for s in self.samples}

    def load(self, sample: Mapping[str, Any]) -> LabeledImage:
        """Read an image and draw its instances."""
        image = read_image(sample['path'])
        instances = self._instances[sample['id']]
        shape = (image.height, image.width)
        stated = (sample.get('height', shape[0]), sample.get('width', shape[1]))
        if stated != shape:
            raise DataError(
                f'{self.ann_file} says that {sample["path"]} is {stated[1]} x {stated[0]} pixels; '
                f'it is {shape[1]} x {shape[0]}'
            )
        labels = np.zeros(shape, np.int16)
        for mask, label in self._masks(instances, shape):
            labels[mask] = label
        boxes = [a['bbox'] for a in instances if not a.get('iscrowd')]
        return LabeledImage(image, labels, _corners(boxes, shape))

    def _masks(
        self, instances: Sequence[Mapping[str, Any]], shape: tuple[int, int]
    ) -> list[tuple[np.ndarray, int]]:
        """Mask and label of each instance, in the order to draw them: crowds, then large first."""
        drawn = []
        for instance in instances:
            try:
                mask = _decode(instance['segmentation'], shape)
            except Exception as error:  # pycocotools raises about anything
                raise DataError(
                    f'{self.ann_file}: annotation {instance.get("id")}: its segmentation cannot be '
                    f'read: {error}'
                ) from error
            crowd = bool(instance.get('iscrowd'))
            label = IGNORED if crowd else self.classes[instance['category_id']]
            drawn.append((not crowd, -int(mask.sum()), mask, label))
        drawn.sort(key=lambda entry: entry[:2])
        return [(mask, label) for *_, mask, label in drawn]


def _mask_api() -> Any:
    """The module ``pycocotools.mask``.

    Raises:
        DataError: It is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DataError(
            'COCO-style annotations need pycocotools, which mmdet brings along '
            '(pip install pycocotools)'
        ) from error
    return mask


def _read(ann_file: str) -> dict[str, list[Mapping[str, Any]]]:
    """The lists of a COCO-style file.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: A list is missing or empty, an entry lacks something, or an annotation belongs to
            no image or category.
    """
    try:
        with open(ann_file, encoding='utf-8') as file:
            content = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(f'there is no annotation file {ann_file}') from None
    except ValueError as error:
        raise DataError(f'annotation file {ann_file} is no JSON: {error}') from error
    for key in NEEDED:
        if not isinstance(content, dict) or not content.get(key):
            raise DataError(f'annotation file {ann_file} has no {key}')
    try:
        check_entries(content, NEEDED)
        check_categories(content)
        check_images(content)
    except DataError as error:
        raise DataError(f'annotation file {ann_file}: {error}') from None
    return content


def _decode(segmentation: Any, shape: tuple[int, int]) -> np.ndarray:
    """Mask, bool (H, W), of polygons or of an RLE; polygons of less than three points have none."""
    api = _mask_api()
    if isinstance(segmentation, list):  # polygons
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]  # as in mmdet
        segmentation = api.merge(api.frPyObjects(polygons, *shape)) if polygons else None
    elif isinstance(segmentation['counts'], list):  # RLE before compression
        segmentation = api.frPyObjects(segmentation, *shape)
    if segmentation is None:
        return np.zeros(shape, bool)
    mask = api.decode(segmentation).astype(bool)
    if mask.shape != shape:
        raise ValueError(f'it is {mask.shape[1]} x {mask.shape[0]} pixels')
    return mask


def _corners(boxes: Sequence[Sequence[float]], shape: tuple[int, int]) -> np.ndarray:
    """Boxes x, y, width, height as x1, y1, x2, y2 (M, 4); without those that have no area."""
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    corners = corners.clip(0, [shape[1], shape[0]] * 2)
    return corners[(corners[:, 2:] > corners[:, :2]).all(axis=1)]

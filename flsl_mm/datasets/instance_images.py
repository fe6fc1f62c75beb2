"""Images with instances in a COCO-style file, as labels of pixels; needs pycocotools."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from ..utils.errors import DataError
from .coco_file import check_masks, decode_mask, read_coco_file
from .labeled_images import IGNORED, LabeledImage, LabeledImages, read_image, shape_of


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
        content = _read_lists(ann_file)
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
        stated = (sample['width'], sample['height']) if 'width' in sample else None
        image = read_image(
            sample['path'],
            stated,
            lambda found: (
                f'{self.ann_file} says that {sample["path"]} is {stated[0]} x {stated[1]} pixels; '
                f'it is {found[0]} x {found[1]}'
            ),
            self.channels,
        )
        instances = self._instances[sample['id']]
        shape = shape_of(image)
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
                mask = decode_mask(instance['segmentation'], shape)
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


def _read_lists(ann_file: str) -> dict[str, list[Mapping[str, Any]]]:
    """The lists of a COCO-style file.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It is no such file, a list is empty, or an object has no mask.
    """
    content = read_coco_file(ann_file, masks=True, detection=False)
    try:
        check_masks(content['annotations'])
    except DataError as error:
        raise DataError(f'annotation file {ann_file}: {error}') from error
    return content


def _corners(boxes: Sequence[Sequence[float]], shape: tuple[int, int]) -> np.ndarray:
    """Boxes x, y, width, height as x1, y1, x2, y2 (M, 4); without those that have no area."""
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    corners = corners.clip(0, [shape[1], shape[0]] * 2)
    return corners[(corners[:, 2:] > corners[:, :2]).all(axis=1)]

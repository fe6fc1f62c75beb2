"""COCO annotations, checked when they are read; needs mmdet."""

import functools
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from ..utils.counts import counted
from ..utils.errors import DataError, first_names
from .coco_file import check_masks, read_coco_file
from .image_files import missing_files
from .transforms.load_fitting_image import load_fitting_images


class CheckedCOCO(COCO):
    """mmdet's COCO API on what :func:`read_coco_file` makes of a file.

    Unlike that it does not pass over classes it does not find.

    Args:
        path: Annotation file.
        masks: Whether masks are needed.
        complete: Whether each annotation must have one then, of use in training or not.
    """

    def __init__(self, path: str, masks: bool = False, complete: bool = False) -> None:
        super().__init__()
        self.dataset = read_coco_file(path, masks)
        if masks and complete:
            try:
                check_masks(self.dataset['annotations'])
            except DataError as error:
                raise DataError(f'annotation file {path}: {error}') from error
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(self, cat_names: list = [], sup_names: list = [], cat_ids: list = []) -> list:  # noqa: B006
        """Category ids of classes, in the order of the classes: so their labels are.

        Raises:
            DataError: The file lacks some of the classes.
        """
        ids = {category['name']: category['id'] for category in self.dataset['categories']}
        missing = [name for name in cat_names if name not in ids]
        if missing:
            raise DataError(
                f'lacks {len(missing)} of the {len(cat_names)} classes of the config '
                f'({first_names(missing)}); it has {first_names(list(ids))}'
            )
        if cat_names:
            return [ids[name] for name in cat_names]
        return super().get_cat_ids(cat_names, sup_names, cat_ids)


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """mmdet's ``CocoDataset``, which stops where that would train on wrong or on no labels.

    As in mmdet, category ids may have gaps; boxes without area or outside the image are left out
    (and counted); crowds are regions to ignore; images without annotations are left out in
    training. The file is read by :func:`read_coco_file`; ``LoadImageFromFile`` in the pipeline
    compares sizes (:class:`LoadFittingImage`).

    Raises:
        FileNotFoundError: There is no annotation file, or an image is missing.
        DataError: It is no JSON, an entry lacks something, an annotation belongs to nothing, its
            categories are not the classes, an object has no segmentation where the pipeline loads
            masks, or no image or object is left.
    """

    def __init__(self, *args, pipeline: Sequence = (), **kwargs) -> None:
        super().__init__(*args, pipeline=load_fitting_images(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotation file."""
        masks = _loads_masks(self.pipeline)
        self.COCOAPI = functools.partial(CheckedCOCO, masks=masks)
        if self.test_mode:  # for StandardCocoMetric; checkpoints of a training hold no paths
            self._metainfo['ann_file'] = os.path.abspath(self.ann_file)
        try:
            self._others: Counter[str] = Counter()
            images = super().load_data_list()
            if self._others:
                others = counted(self._others.total(), 'object')
                MMLogger.get_current_instance().warning(
                    f'annotation file {self.ann_file}: {others} of other classes left out '
                    f'({first_names(list(self._others))})'
                )
            if masks:
                _check_masks(images)
            if not self.backend_args:
                self._check_files([image['img_path'] for image in images])
            return images
        except DataError as error:
            if str(self.ann_file) in str(error):
                raise
            raise DataError(f'annotation file {self.ann_file}: {error}') from error

    def _check_files(self, paths: Sequence[str]) -> None:
        """Refuse images that are not there, before an epoch has passed.

        Raises:
            FileNotFoundError: Names the first.
        """
        missing = missing_files(path for path in paths if '://' not in path)
        if missing:
            prefix = self.data_prefix.get('img') or self.data_root or '.'
            variable = 'val_images' if self.test_mode else 'train_images'
            raise FileNotFoundError(
                f'{len(missing)} of {len(paths)} images of {self.ann_file} are missing, the first '
                f'is {missing[0]}: file_name is relative to {prefix}, which is data_root with '
                f'{variable} (or with data_prefix.img, where a config has no {variable})'
            )

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """An image and its objects; those of other classes are left out, and counted."""
        self._others.update(
            self.coco.cats[annotation['category_id']]['name']
            for annotation in raw_data_info['raw_ann_info']
            if annotation['category_id'] not in self.cat2label
        )
        return super().parse_data_info(raw_data_info)

    def filter_data(self) -> list[dict]:
        """Leave out what cannot be trained on."""
        kept = super().filter_data()
        if not kept:
            raise DataError(
                f'annotation file {self.ann_file}: none of its {len(self.data_list)} images is left'
                f' (filter_cfg={self.filter_cfg})'
            )
        objects = (o for image in kept for o in image['instances'] if not o['ignore_flag'])
        if not (self.test_mode or any(objects)):
            raise DataError(
                f'annotation file {self.ann_file}: none of its {len(kept)} images is left with an '
                'object of the classes to train on'
            )
        return kept


def _loads_masks(transform: Any) -> bool:
    """Whether a transform, or one of those in it, loads masks."""
    if isinstance(transform, (list, tuple)):
        return any(map(_loads_masks, transform))
    return getattr(transform, 'with_mask', False) or _loads_masks(
        getattr(transform, 'transforms', ())
    )


def _check_masks(images: Sequence[dict]) -> None:
    """Refuse objects without a mask.

    Raises:
        DataError: There are some; says how many and where the first is.
    """
    objects = [(image, instance) for image in images for instance in image['instances']]
    without = [image for image, instance in objects if 'mask' not in instance]
    if without:
        raise DataError(
            f'{len(without)} of {len(objects)} annotations have no segmentation, the first is of '
            f'{os.path.basename(without[0]["img_path"])}, and the pipeline loads masks; without '
            'masks train Faster R-CNN (configs/_base_/models/faster-rcnn_vits16_fpn.py) with '
            'with_mask=False'
        )

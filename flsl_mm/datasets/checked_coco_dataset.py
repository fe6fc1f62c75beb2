"""COCO annotations, checked when they are read; needs mmdet."""

import functools
import os
from collections.abc import Sequence
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS

from ..utils.errors import DataError
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
        """Category ids of classes, in the order of the file.

        Raises:
            DataError: The file lacks some of the classes, or has them in another order: labels
                would stand for other classes than their names say.
        """
        found = [c['name'] for c in self.dataset['categories'] if c['name'] in cat_names]
        missing = [name for name in cat_names if name not in found]
        if missing:
            listed = ', '.join(missing[:5]) + (', ...' if len(missing) > 5 else '')
            raise DataError(
                f'lacks {len(missing)} of the {len(cat_names)} classes of the config ({listed}); '
                "set the dataset's metainfo.classes and the heads' num_classes to those of the file"
            )
        if found != list(cat_names):
            raise DataError(
                'has its categories in another order than the classes of the config; '
                "give the dataset's metainfo.classes in the order of the file"
            )
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
            images = super().load_data_list()
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
            raise FileNotFoundError(
                f'{len(missing)} of {len(paths)} images of {self.ann_file} are missing, the first '
                f'is {missing[0]}; file_name is relative to data_root and data_prefix'
            )

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

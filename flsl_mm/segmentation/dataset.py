"""ADE20K images and masks, checked when the data set is built, and their labels."""

import os.path as osp
from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.fileio import list_dir_or_file
from mmseg.datasets import ADE20KDataset
from mmseg.registry import DATASETS, TRANSFORMS

from ..datasets.image_content import read_content
from ..datasets.orientation import describe_sizes
from ..datasets.transforms.load_fitting_image import load_fitting_images
from ..utils.errors import DataError


@DATASETS.register_module()
class CheckedADE20KDataset(ADE20KDataset):
    """mmseg's ``ADE20KDataset``, which stops before training where it could not train.

    In its pipeline ``LoadImageFromFile`` and ``LoadAnnotations`` load images that fit their masks
    (:class:`LoadFittingImage`) and checked labels (:class:`LoadADE20KLabels`): mmseg's inferencers
    look for the transforms by these names.

    Raises:
        FileNotFoundError: There is no folder of images or masks, or a mask is missing.
        DataError: There are no images in the folder, no mask has a labelled pixel, or one to
            evaluate is no such mask.
    """

    def __init__(self, *args, pipeline: Sequence = (), **kwargs) -> None:
        transforms = load_fitting_images(pipeline, LoadAnnotations=lambda _: LoadADE20KLabels())
        super().__init__(*args, pipeline=transforms, **kwargs)

    def full_init(self) -> None:
        """List the images, and look for the first labelled pixel."""
        if not self._fully_initialized:
            super().full_init()
            samples = [self.get_data_info(i) for i in range(len(self))]
            _check_labelled(samples, every=self.test_mode)  # training reads them soon enough

    def load_data_list(self) -> list[dict]:
        """List the images, each with the path of its mask."""
        folders = [self.data_prefix[key] for key in ('img_path', 'seg_map_path')]
        for kind, folder in zip(('images', 'masks'), folders):
            if not osp.isdir(folder):
                raise FileNotFoundError(
                    f'ADE20K: there is no folder of {kind} {folder}; set data_root (docs/ade20k.md)'
                )
        data_list = super().load_data_list()
        if not data_list:
            raise DataError(f'ADE20K: no {self.img_suffix} images in {folders[0]}')
        found = {
            osp.join(folders[1], name)
            for name in list_dir_or_file(
                folders[1], list_dir=False, suffix=self.seg_map_suffix, recursive=True
            )
        }
        missing = [data['seg_map_path'] for data in data_list if data['seg_map_path'] not in found]
        if missing:
            raise FileNotFoundError(
                f'ADE20K: {len(missing)} of {len(data_list)} images in {folders[0]} have no mask, '
                f'the first lacks {missing[0]}'
            )
        return data_list


NUM_CLASSES = 150
IGNORED = 255


@TRANSFORMS.register_module()
class LoadADE20KLabels(BaseTransform):
    """Read a mask of ADE20K's scene parsing challenge as training labels.

    In the file 1..150 are the classes and 0 is unlabelled; the labels are 0..149, and 255 where a
    pixel is ignored: at 0, at 255, and at classes that the data set leaves out (its ``label_map``).
    A mask without any labelled pixel is read like others; it adds nothing to loss or metric.

    Required keys: ``seg_map_path``, ``ori_shape``, ``seg_fields``, and optionally ``label_map``.
    Added: ``gt_seg_map``, uint8 (H, W).
    """

    def transform(self, results: dict) -> dict:
        """Add the labels.

        Raises:
            FileNotFoundError: There is no such file.
            DataError: It is no such mask, or has another size than its image.
        """
        path = results['seg_map_path']
        mask = read_ade20k_mask(path)
        if mask.shape != tuple(results['ori_shape']):
            sizes = results['ori_shape'][::-1], mask.shape[::-1]
            raise DataError(describe_sizes(results.get('img_path', ''), *sizes, mask=path))
        results['gt_seg_map'] = label_table(results.get('label_map'))[mask]
        results['seg_fields'].append('gt_seg_map')
        return results


def read_ade20k_mask(path: str) -> np.ndarray:
    """The values of a mask (H, W), all in 0..150 or 255.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It is no such mask.
    """
    try:
        mask = mmcv.imfrombytes(read_content(path), flag='unchanged', backend='pillow')
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(f'mask {path} is no readable image: {error}') from error
    if mask.ndim != 2:
        raise DataError(
            f'mask {path} has {mask.shape[-1]} channels: ADE20K masks have one, with the class '
            '(those of ADEChallengeData2016, not of the full data set)'
        )
    if mask.dtype.kind not in 'ui':
        kind = '1 bit' if mask.dtype == bool else 'floating-point numbers'
        raise DataError(f'mask {path} has {kind} for each pixel: masks have 8 bits, the class')
    wrong = np.unique(mask[((mask > NUM_CLASSES) & (mask != IGNORED)) | (mask < 0)])
    if wrong.size:
        raise DataError(
            f'mask {path} has labels above {NUM_CLASSES}: {", ".join(map(str, wrong[:5]))}; '
            f'1..{NUM_CLASSES} are the classes, 0 and {IGNORED} are ignored'
        )
    return mask


def _check_labelled(samples: Sequence[dict], every: bool) -> None:
    """Look for the first mask with a labelled pixel, from all parts of the data set.

    Args:
        samples: Those of the data set.
        every: Whether all masks are read, as evaluation will.

    Raises:
        DataError: There is none; says which values there are. Or one is no such mask.
    """
    values: set[int] = set()
    labelled = False
    order = sorted(range(len(samples)), key=lambda i: (f'{i:b}'[::-1].rstrip('0'), i))
    for sample in (samples[i] for i in order):
        found = np.unique(read_ade20k_mask(sample['seg_map_path']))
        labelled |= bool((label_table(sample.get('label_map'))[found] != IGNORED).any())
        if labelled and not every:
            return
        values.update(found.tolist())
    if labelled:
        return
    raise DataError(
        f'ADE20K: no pixel of the {len(samples)} masks is labelled, the first is '
        f'{samples[0]["seg_map_path"]}: their values are {", ".join(map(str, sorted(values)))}; '
        f'1..{NUM_CLASSES} are the classes (those the config uses), 0 and {IGNORED} are ignored'
    )


def label_table(label_map: dict[int, int] | None) -> np.ndarray:
    """The label of each value in a file.

    Args:
        label_map: New label by label in 0..149, where only some classes are used; None keeps all.

    Returns:
        np.ndarray: uint8 (256,).
    """
    table = np.full(256, IGNORED, np.uint8)
    for label in range(NUM_CLASSES):
        table[label + 1] = label if label_map is None else label_map[label]
    return table

"""Images with masks of classes, checked when the data set is built, and their labels."""

import os.path as osp
from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.fileio import list_dir_or_file
from mmseg.datasets import ADE20KDataset, BaseSegDataset
from mmseg.datasets.transforms import PhotoMetricDistortion
from mmseg.registry import DATASETS, TRANSFORMS

from ..datasets.image_channels import COLORS
from ..datasets.image_content import read_content
from ..datasets.image_files import IMAGE_EXTENSIONS, find_names
from ..datasets.orientation import describe_sizes
from ..datasets.transforms.load_fitting_image import load_fitting_images
from ..utils.errors import ConfigError, DataError

IGNORED = 255
ADE20K_CLASSES = 150


@DATASETS.register_module()
class CheckedMaskDataset(BaseSegDataset):
    """Images with a PNG mask of the same name, checked before training.

    A mask's values are the classes from 0 on and 255 is ignored; with ``reduce_zero_label`` they
    are those from 1 on, and 0 is ignored too. In its pipeline ``LoadImageFromFile`` and
    ``LoadAnnotations`` load images that fit their masks (:class:`LoadFittingImage`) and checked
    labels (:class:`LoadMaskLabels`): mmseg's inferencers look for the transforms by these names.

    Args:
        img_suffix: Endings of images; folders are searched in depth.
        args, kwargs: Of mmseg's ``BaseSegDataset``: ``data_root``, ``data_prefix``, ``metainfo``
            with the ``classes``, and so on.

    Raises:
        ConfigError: There are no classes, or more than a mask can tell apart.
        FileNotFoundError: There is no folder of images or masks, or a mask is missing.
        DataError: There are no images in the folder, or no mask has a labelled pixel.
    """

    def __init__(
        self,
        *args,
        pipeline: Sequence = (),
        img_suffix: str | tuple[str, ...] = IMAGE_EXTENSIONS,
        **kwargs,
    ) -> None:
        self._labels = LoadMaskLabels()
        transforms = load_fitting_images(
            pipeline,
            LoadAnnotations=lambda _: self._labels,
            PhotoMetricDistortion=lambda options: DistortColors(**options),
        )
        super().__init__(*args, pipeline=transforms, img_suffix=img_suffix, **kwargs)

    def full_init(self) -> None:
        """List the images, and look for the first labelled pixel."""
        if self._fully_initialized:
            return
        count = len(self.METAINFO.get('classes') or self.metainfo.get('classes') or ())
        most = IGNORED - self.reduce_zero_label
        if not 0 < count <= most:
            raise ConfigError(
                f'{type(self).__name__}: metainfo.classes has {count} names, masks have 1 to {most}'
            )
        self._labels.num_classes, self._labels.first = count, int(self.reduce_zero_label)
        super().full_init()
        self._check_labelled()

    def load_data_list(self) -> list[dict]:
        """List the images, each with the path of its mask."""
        keys = 'img_path', 'seg_map_path'
        folders = [self.data_prefix[key] for key in keys]
        loader = 'val_dataloader' if self.test_mode else 'train_dataloader'
        for kind, key, folder in zip(('images', 'masks'), keys, folders):
            if not osp.isdir(folder):
                raise FileNotFoundError(
                    f'there is no folder of {kind} {folder}: set data_root, or '
                    f'{loader}.dataset.data_prefix.{key} (docs/my_own_data.md)'
                )
        if self.ann_file:
            data_list = super().load_data_list()
        else:
            data_list = [
                dict(
                    img_path=osp.join(folders[0], name),
                    seg_map_path=osp.join(folders[1], osp.splitext(name)[0] + self.seg_map_suffix),
                    label_map=self.label_map,
                    reduce_zero_label=self.reduce_zero_label,
                    seg_fields=[],
                )
                for name in find_names(folders[0], self.img_suffix)
            ]
        if not data_list:
            suffixes = ' '.join(np.atleast_1d(self.img_suffix))
            raise DataError(f'no images ({suffixes}) in {folders[0]}')
        found = {
            osp.join(folders[1], name)
            for name in list_dir_or_file(
                folders[1], list_dir=False, suffix=self.seg_map_suffix, recursive=True
            )
        }
        missing = [data['seg_map_path'] for data in data_list if data['seg_map_path'] not in found]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(data_list)} images in {folders[0]} have no mask, the '
                f'first lacks {missing[0]}'
            )
        return data_list

    def _check_labelled(self) -> None:
        """Look for the first mask with a labelled pixel, from all parts of the data set.

        All masks of evaluation are read, as it will; training soon meets those it has.

        Raises:
            DataError: There is none; says which values there are. Or one is no such mask.
        """
        values: set[int] = set()
        labelled = False
        order = sorted(range(len(self)), key=lambda i: (f'{i:b}'[::-1].rstrip('0'), i))
        for sample in map(self.get_data_info, order):
            found = np.unique(self._labels.read(sample['seg_map_path']))
            table = self._labels.table(sample.get('label_map'))
            labelled |= bool((table[found] != IGNORED).any())
            if labelled and not self.test_mode:
                return
            values.update(found.tolist())
        if labelled:
            return
        raise DataError(
            f'no pixel of the {len(self)} masks is labelled, the first is '
            f'{self.get_data_info(0)["seg_map_path"]}: their values are '
            f'{", ".join(map(str, sorted(values)))}; {self._labels.meaning} (of the classes those '
            'that the config uses)'
        )


@DATASETS.register_module()
class CheckedADE20KDataset(CheckedMaskDataset, ADE20KDataset):
    """mmseg's ``ADE20KDataset``, checked: its classes, their values from 1 on, images are JPEG."""

    def __init__(self, *args, img_suffix: str = '.jpg', **kwargs) -> None:
        super().__init__(*args, img_suffix=img_suffix, **kwargs)


class DistortColors(PhotoMetricDistortion):
    """mmseg's, of the first three channels of an image (H, W, C)."""

    def transform(self, results: dict) -> dict:
        """Change the colors of ``results['img']``."""
        image = results['img']
        results['img'] = np.ascontiguousarray(image[..., :COLORS])
        results = super().transform(results)
        if image.shape[2] > COLORS:
            results['img'] = np.dstack([results['img'], image[..., COLORS:]])
        return results


@TRANSFORMS.register_module()
class LoadMaskLabels(BaseTransform):
    """Read a mask as training labels.

    In the file ``first`` and so on are the classes; the labels are from 0 on, and 255 where a pixel
    is ignored: at 255, at 0 where the classes start at 1, and at classes that the data set leaves
    out (its ``label_map``). A mask without any labelled pixel is read like others; it adds nothing
    to loss or metric.

    Required keys: ``seg_map_path``, ``ori_shape``, ``seg_fields``, and optionally ``label_map``.
    Added: ``gt_seg_map``, uint8 (H, W).

    Args:
        num_classes: Classes that the files may have.
        first: Value of the first one, 0 or 1.
    """

    def __init__(self, num_classes: int = IGNORED, first: int = 0) -> None:
        self.num_classes, self.first = num_classes, first

    @property
    def meaning(self) -> str:
        """What the values of a file mean."""
        ignored = f'0 and {IGNORED} are' if self.first else f'{IGNORED} is'
        return (
            f'{self.first}..{self.num_classes - 1 + self.first} are the classes, {ignored} ignored'
        )

    def transform(self, results: dict) -> dict:
        """Add the labels.

        Raises:
            FileNotFoundError: There is no such file.
            DataError: It is no such mask, or has another size than its image.
        """
        path = results['seg_map_path']
        mask = self.read(path)
        if mask.shape != tuple(results['ori_shape']):
            sizes = results['ori_shape'][::-1], mask.shape[::-1]
            raise DataError(describe_sizes(results.get('img_path', ''), *sizes, mask=path))
        results['gt_seg_map'] = self.table(results.get('label_map'))[mask]
        results['seg_fields'].append('gt_seg_map')
        return results

    def read(self, path: str) -> np.ndarray:
        """The values of a mask (H, W), all of them classes or ignored.

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
                f'mask {path} has {mask.shape[-1]} channels: masks have one, with the class (of '
                'ADE20K those of ADEChallengeData2016, not of the full data set)'
            )
        if mask.dtype.kind not in 'ui':
            kind = '1 bit' if mask.dtype == bool else 'floating-point numbers'
            raise DataError(f'mask {path} has {kind} for each pixel: masks have 8 bits, the class')
        last = self.num_classes - 1 + self.first
        wrong = np.unique(mask[((mask > last) & (mask != IGNORED)) | (mask < 0)])
        if wrong.size:
            raise DataError(
                f'mask {path} has labels above {last}: {", ".join(map(str, wrong[:5]))}; '
                f'{self.meaning}'
            )
        return mask

    def table(self, label_map: dict[int, int] | None) -> np.ndarray:
        """The label of each value in a file.

        Args:
            label_map: New label by label from 0 on, where only some classes are used; None keeps
                all.

        Returns:
            np.ndarray: uint8 (256,).
        """
        table = np.full(256, IGNORED, np.uint8)
        for label in range(self.num_classes):
            table[label + self.first] = label if label_map is None else label_map[label]
        return table


@TRANSFORMS.register_module()
class LoadADE20KLabels(LoadMaskLabels):
    """Read a mask of ADE20K's scene parsing challenge, whose values 1..150 are the classes."""

    def __init__(self) -> None:
        super().__init__(ADE20K_CLASSES, first=1)

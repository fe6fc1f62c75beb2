"""ADE20K images and masks, found when the data set is built; needs mmseg."""

import os.path as osp

from mmengine.fileio import list_dir_or_file
from mmseg.datasets import ADE20KDataset
from mmseg.registry import DATASETS

from flsl_mm.data_error import DataError


@DATASETS.register_module()
class CheckedADE20KDataset(ADE20KDataset):
    """mmseg's ``ADE20KDataset``, which stops before training where an image has no mask.

    Raises:
        FileNotFoundError: There is no folder of images or masks, or a mask is missing.
        DataError: There are no images in the folder.
    """

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

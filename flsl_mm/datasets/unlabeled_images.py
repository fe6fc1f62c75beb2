"""Images without labels, from a folder, a list file or tar files."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch.utils.data import Dataset

from ..utils.counts import counted
from ..utils.errors import DataError
from .image_files import IMAGE_EXTENSIONS, ImageFiles
from .samplers import SampleKey
from .tar_shards import INDEX_NAME, TarShards

MAX_BROKEN_IN_A_ROW = 100


@DATASETS.register_module()
class UnlabeledImages(Dataset):
    """Every image below a folder, in a list file or in tar files.

    A sample depends only on its :class:`SampleKey`: the pipeline draws all its random numbers from
    ``results['rng']``, which is seeded with the key's seed. So neither the number of workers nor
    prefetching nor a resume changes a sample. An image that the pipeline cannot read (``OSError``)
    is replaced by the next one, and reported in the ``broken`` meta information.

    Not an mmengine ``BaseDataset``, which makes a dict for each image first: the names of millions
    of images are two arrays here, which all workers share.

    Args:
        data_root: A folder of images, in class folders or not; hidden files and folders are left
            out, links to folders are followed. If it holds ``ILSVRC/Data/CLS-LOC/train``,
            ``Data/CLS-LOC/train`` or ``train``, only that folder is used. Or a folder of tar files
            with their index, made by ``tools/dataset_converters/make_shards.py``.
        ann_file: A text file with one image path a line, relative to ``data_root``; used instead
            of searching. Blank lines, lines starting with ``#`` and an integer label after the
            path are ignored. A relative ``ann_file`` is itself relative to ``data_root``.
        pipeline: Transforms from ``img_path``, ``rng`` and ``broken`` (from tar files ``img_bytes``
            too) to a packed sample.
        extensions: File name endings of images, any case.
        indices: The first so many images only (all where there are fewer), or the images at these
            positions, counted from 0.

    Raises:
        FileNotFoundError: No such folder or list file.
        DataError: The folder or the list file holds no images, or the tar files have changed; or
            there is no image at one of ``indices``.
    """

    metainfo: dict = {}  # mmengine's loops ask for it

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        pipeline: Sequence[dict | Callable] = (),
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        # built here as mmengine would look them up in the default scope's registry only
        transforms = [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline]
        self.pipeline = Compose(transforms)
        self.data_root = str(data_root)
        self.source = self._find_images(ann_file, tuple(e.lower() for e in extensions))
        self.indices = self._choose(indices)
        MMLogger.get_current_instance().info(f'{counted(len(self), "image")} from {self.source}')

    def _find_images(self, ann_file: str, extensions: tuple[str, ...]) -> ImageFiles | TarShards:
        """Where the images are."""
        if not os.path.isdir(self.data_root):
            raise FileNotFoundError(f'data_root is not a folder: {self.data_root}')
        if ann_file:
            return ImageFiles.in_list(self.data_root, os.path.join(self.data_root, ann_file))
        if os.path.isfile(os.path.join(self.data_root, INDEX_NAME)):
            return TarShards(self.data_root)
        return ImageFiles.in_folder(self.data_root, extensions)

    def _choose(self, indices: int | Sequence[int] | None) -> np.ndarray | None:
        """Positions in the source of the images to take; None for all."""
        if indices is None:
            return None
        total = len(self.source)
        chosen = np.arange(min(indices, total)) if isinstance(indices, int) else np.array(indices)
        outside = chosen[(chosen < 0) | (chosen >= total)]
        if not len(chosen) or len(outside):
            what = f'no image at position {outside[0]}' if len(outside) else 'no image to take'
            raise DataError(
                f'indices of the data set: {what}, {self.source} has {counted(total, "image")}'
            )
        return chosen

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source if self.indices is None else self.indices)

    def get_data_info(self, index: int) -> dict:
        """Where an image is: ``img_path``, and its content as ``img_bytes`` if in a tar file.

        Raises:
            OSError: A tar file cannot be read.
        """
        return self.source[self._position(index)]

    def _position(self, index: int) -> int:
        """Where the image at ``index`` is in the source."""
        return index if self.indices is None else int(self.indices[index])

    def __getitem__(self, key: int | SampleKey) -> dict:
        """The packed sample of ``key``; a plain index gets a seed from torch's generator.

        Raises:
            DataError: 100 images in a row cannot be read.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(key, int(torch.randint(2**31, ())))
        broken: list[tuple[str, str]] = []
        for offset in range(min(len(self), MAX_BROKEN_IN_A_ROW)):
            index = (key.index + offset) % len(self)
            try:
                results = self.get_data_info(index)
                results.update(rng=np.random.default_rng(key.seed), broken=broken)
                return self.pipeline(results)
            except OSError as error:
                broken.append((self.source.path(self._position(index)), str(error)))
        examples = '; '.join(map(': '.join, broken[:3]))
        raise DataError(f'{len(broken)} images in a row cannot be read, for example {examples}')

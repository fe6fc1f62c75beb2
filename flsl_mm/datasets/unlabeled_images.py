"""Images without labels, from a folder or a list file."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS, TRANSFORMS

from flsl_mm.data_error import DataError

from .samplers.sample_key import SampleKey

IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')
TRAIN_FOLDERS = ('ILSVRC/Data/CLS-LOC/train', 'Data/CLS-LOC/train', 'train')
MAX_BROKEN_IN_A_ROW = 100


@DATASETS.register_module()
class UnlabeledImages(BaseDataset):
    """Every image below a folder, or in a list file.

    A sample depends only on its :class:`SampleKey`: the pipeline draws all its random numbers from
    ``results['rng']``, which is seeded with the key's seed. So neither the number of workers nor
    prefetching nor a resume changes a sample. An image that the pipeline cannot read (``OSError``)
    is replaced by the next one, and reported in the ``broken`` meta information.

    Args:
        data_root: A folder of images, in class folders or not; hidden files and folders are left
            out, links to folders are followed. If it holds ``ILSVRC/Data/CLS-LOC/train``,
            ``Data/CLS-LOC/train`` or ``train``, only that folder is used.
        ann_file: A text file with one image path a line, relative to ``data_root``; used instead
            of searching. Blank lines, lines starting with ``#`` and an integer label after the
            path are ignored. A relative ``ann_file`` is itself relative to ``data_root``.
        pipeline: Transforms from ``img_path``, ``rng`` and ``broken`` to a packed sample.
        extensions: File name endings of images, any case.
        kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`.

    Raises:
        FileNotFoundError: No such folder or list file.
        DataError: The folder or the list file holds no images.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        pipeline: Sequence[dict | Callable] = (),
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        **kwargs,
    ) -> None:
        self.extensions = tuple(extension.lower() for extension in extensions)
        # built here as mmengine would look them up in the default scope's registry only
        transforms = [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline]
        super().__init__(ann_file=ann_file, data_root=str(data_root), pipeline=transforms, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One ``dict(img_path=...)`` for each image, in a fixed order."""
        if not os.path.isdir(self.data_root):
            raise FileNotFoundError(f'data_root is not a folder: {self.data_root}')
        if self.ann_file:
            source, names = self.ann_file, self._read_list()
        else:
            source = find_train_folder(self.data_root)
            names = list(find_images(source, self.extensions))
            if not names:
                raise DataError(
                    f'no images found under {source} (looked for {", ".join(self.extensions)}); '
                    'set data_root or extensions'
                )
        MMLogger.get_current_instance().info(f'{len(names)} images from {source}')
        return [dict(img_path=name) for name in names]

    def _read_list(self) -> list[str]:
        """Paths of the images in ``ann_file``."""
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(f'ann_file is not a file: {self.ann_file}')
        lines = Path(self.ann_file).read_text(encoding='utf-8').splitlines()
        names = [parse_list_line(line) for line in lines]
        names = [os.path.join(self.data_root, name) for name in names if name]
        if not names:
            raise DataError(f'ann_file lists no images: {self.ann_file}')
        return names

    def __getitem__(self, key: int | SampleKey) -> dict:
        """The packed sample of ``key``; a plain index gets a seed from torch's generator.

        Raises:
            RuntimeError: 100 images in a row cannot be read.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(key, int(torch.randint(2**31, ())))
        index, seed = key
        broken: list[str] = []
        for offset in range(min(len(self), MAX_BROKEN_IN_A_ROW)):
            results = self.get_data_info((index + offset) % len(self))
            path = results['img_path']
            results['rng'] = np.random.default_rng(seed)
            results['broken'] = broken
            try:
                sample = self.pipeline(results)
            except OSError as error:
                broken.append(f'{path}: {error}')
                continue
            return sample
        raise RuntimeError(
            f'{len(broken)} images in a row cannot be read, for example ' + '; '.join(broken[:3])
        )


def find_train_folder(root: str) -> str:
    """The training images of an ImageNet-like folder ``root``, else ``root`` itself."""
    for name in TRAIN_FOLDERS:
        folder = os.path.join(root, name)
        if os.path.isdir(folder):
            return folder
    return root


def find_images(
    folder: str, extensions: tuple[str, ...], seen: set[tuple[int, int]] | None = None
) -> Iterator[str]:
    """Paths of the images below ``folder``: sorted by name, files before folders.

    Args:
        folder: Where to search.
        extensions: File name endings in lower case.
        seen: Folders (device, inode) searched already, so that links make no loops or doubles.
    """
    seen = set() if seen is None else seen
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        visible = sorted((e for e in entries if e.name[0] != '.'), key=lambda e: e.name)
    folders = []
    for entry in visible:
        if entry.is_dir():
            folders.append(entry.path)
        elif entry.name.lower().endswith(extensions):
            yield entry.path
    for path in folders:
        yield from find_images(path, extensions, seen)


def parse_list_line(line: str) -> str:
    """The path in one line of a list file, without a trailing integer label; '' for none."""
    line = line.strip()
    if line.startswith('#'):
        return ''
    path, *label = line.rsplit(maxsplit=1) or ['']
    return path if label and label[0].lstrip('-').isdecimal() else line

"""Images as files in folders."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmengine.logging import print_log

from ..utils.errors import DataError
from .packed_strings import PackedStrings
from .tar_shards import MAKE_INDEX

IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')
ARRAY = '.npy'  # an image in folders without these
TRAIN_FOLDERS = ('ILSVRC/Data/CLS-LOC/train', 'Data/CLS-LOC/train', 'train')


class ImageFiles:
    """A fixed order of image files.

    Args:
        root: Folder that the names are relative to.
        names: Relative file names.

    Attributes:
        names: The relative names, packed.
    """

    def __init__(self, root: str, names: Iterable[str]) -> None:
        self.root = root
        self.names = PackedStrings(names)

    @classmethod
    def in_folder(cls, root: str, extensions: tuple[str, ...]) -> 'ImageFiles':
        """The images below a folder; of an ImageNet root only the training images.

        Args:
            root: A folder of images, in class folders or not.
            extensions: File name endings in lower case.

        Raises:
            DataError: There are none.
        """
        folder = find_train_folder(root)
        files = cls(folder, find_names(folder, extensions))
        if not len(files):
            has_tar_files = any(name.endswith('.tar') for name in os.listdir(folder))
            raise DataError(
                f'no images found under {folder} (looked for {", ".join(extensions)}); '
                + (
                    f'index its tar files with {MAKE_INDEX.format(folder)}'
                    if has_tar_files
                    else 'set data_root or extensions'
                )
            )
        return files

    @classmethod
    def in_list(cls, root: str, list_file: str) -> 'ImageFiles':
        """The images in a list file, one a line, relative to ``root``.

        Raises:
            FileNotFoundError: No such list file.
            DataError: It lists no images.
        """
        if not os.path.isfile(list_file):
            raise FileNotFoundError(f'ann_file is not a file: {list_file}')
        with Path(list_file).open(encoding='utf-8', errors='surrogateescape') as lines:
            files = cls(root, filter(None, map(parse_list_line, lines)))
        if not len(files):
            raise DataError(f'ann_file lists no images: {list_file}')
        return files

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def path(self, index: int) -> str:
        """The file of an image."""
        return os.path.join(self.root, self.names[index])

    def __getitem__(self, index: int) -> dict:
        """``img_path`` of an image."""
        return dict(img_path=self.path(index))

    def __str__(self) -> str:
        return self.root


def missing_files(paths: Iterable[str]) -> list[str]:
    """Those of paths on disk that are in no folder; each folder is listed once."""
    listed: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listed[folder]:
            missing.append(path)
    return missing


def find_train_folder(root: str) -> str:
    """The training images of an ImageNet-like folder ``root``, else ``root`` itself."""
    for name in TRAIN_FOLDERS:
        folder = os.path.join(root, name)
        if os.path.isdir(folder):
            return folder
    return root


def find_images(root: str, extensions: tuple[str, ...]) -> Iterator[str]:
    """Paths of the images below ``root``, as :func:`find_names` finds them."""
    return (os.path.join(root, name) for name in find_names(root, extensions))


def find_names(root: str, extensions: tuple[str, ...]) -> Iterator[str]:
    """Names, relative to ``root``, of the images below it: sorted, files before folders.

    Hidden files and folders are left out; links to folders are followed, without loops or doubles.
    Where all of :data:`IMAGE_EXTENSIONS` are looked for, arrays are images if there are no others;
    beside these they may be anything, such as features, and are left out, which is logged.

    Args:
        root: Where to search.
        extensions: File name endings in lower case.
    """
    hidden = set(extensions) >= set(IMAGE_EXTENSIONS) and ARRAY not in extensions
    arrays, others = [], False
    for name in _search(root, (*extensions, ARRAY) if hidden else extensions):
        if hidden and name.lower().endswith(ARRAY):
            arrays.append(name)
        else:
            others = True
            yield name
    if not others:
        yield from arrays
    elif arrays:
        print_log(
            f'{root}: {len(arrays)} {ARRAY} files beside images are left out (the first is '
            f'{arrays[0]}); keep images of that kind in a folder of their own',
            logger='current',
            level=logging.WARNING,
        )


def _search(root: str, extensions: tuple[str, ...]) -> Iterator[str]:
    """All names of files with these endings, in the order of :func:`find_names`."""
    seen: set[tuple[int, int]] = set()  # device and inode of folders

    def search(prefix: str) -> Iterator[str]:
        folder = os.path.join(root, prefix)
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            visible = sorted((e.name, e.is_dir()) for e in entries if e.name[0] != '.')
        for name, is_folder in visible:
            if not is_folder and name.lower().endswith(extensions):
                yield prefix + name
        for name, is_folder in visible:
            if is_folder:
                yield from search(f'{prefix}{name}/')

    return search('')


def parse_list_line(line: str) -> str:
    """The path in one line of a list file, without a trailing integer label; '' for none."""
    line = line.strip()
    if line.startswith('#'):
        return ''
    path, *label = line.rsplit(maxsplit=1) or ['']
    return path if label and label[0].lstrip('-').isdecimal() else line

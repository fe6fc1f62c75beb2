"""Images in a few large tar files, for storage that is slow with many small ones."""

import os
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..utils.counts import counted
from ..utils.errors import DataError
from ..utils.files import first_line, read_arrays, whole_file
from .packed_strings import PackedStrings

INDEX_NAME = 'shards.npz'
MAX_OPEN_FILES = 256
MAKE_INDEX = 'python tools/dataset_converters/make_shards.py --index {}'


class TarShards:
    """A fixed order of images in uncompressed tar files, read at random through an index.

    The tar files are ordinary ones, which ``tar`` and webdataset read too; the index,
    ``shards.npz`` beside them, says where each image is. A read is one ``pread``: no state, so any
    order, any number of workers and a resume in mid-epoch work as with files.

    Args:
        folder: Holds the tar files and their index.

    Raises:
        DataError: The index cannot be read, or a tar file is missing or of another size than when
            it was indexed.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        path = os.path.join(folder, INDEX_NAME)
        try:
            index = read_arrays(path)
            self.shards = PackedStrings.from_arrays(index['shard_data'], index['shard_ends'])
            self.names = PackedStrings.from_arrays(index['name_data'], index['name_ends'])
            self.shard, self.start, self.size = index['shard'], index['start'], index['size']
            sizes = index['shard_size']
            self._check_index(sizes)
        except (DataError, KeyError) as error:
            raise DataError(
                f'{path} is no index of tar files ({error}); make it anew with '
                + MAKE_INDEX.format(folder)
            ) from error
        for name, size in zip(self.shards, sizes.tolist()):
            self._check_shard(os.path.join(folder, name), size)
        self._open: OrderedDict[int, int] = OrderedDict()  # shard -> file descriptor

    def _check_index(self, sizes: np.ndarray) -> None:
        """Refuse an index whose entries do not fit each other, or that leads out of its folder.

        Raises:
            DataError: Says so.
        """
        columns = self.shard, self.start, self.size
        shapes = [array.shape for array in (*columns, self.names.ends)]
        if (
            shapes != [(len(self.names.ends),)] * 4
            or sizes.shape != (len(self.shards),)
            or any(array.dtype.kind != 'i' for array in (*columns, sizes))
        ):
            raise DataError('damaged: its columns differ')
        inside = (self.shard >= 0) & (self.shard < len(sizes))
        if not inside.all() or any(os.path.basename(name) != name for name in self.shards):
            raise DataError('damaged: it names other files')
        room = sizes[self.shard] - self.size  # this way round no sum overflows
        if ((self.start < 0) | (self.size < 0) | (self.start > room)).any():
            raise DataError('damaged: images lie outside of their tar files')

    @staticmethod
    def _check_shard(path: str, size: int) -> None:
        """Refuse a tar file that is not the one that was indexed."""
        found = os.path.getsize(path) if os.path.isfile(path) else None
        if found != size:
            what = 'is missing' if found is None else f'has {found} bytes instead of {size}'
            folder = os.path.dirname(path)
            raise DataError(
                f'{path} {what}; if that is intended, index the folder anew with '
                + MAKE_INDEX.format(folder)
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def path(self, index: int) -> str:
        """The tar file of an image and its name in there."""
        shard = self.shards[int(self.shard[index])]
        return os.path.join(self.folder, shard, self.names[index])

    def __getitem__(self, index: int) -> dict:
        """``img_path`` and ``img_bytes`` of an image.

        Raises:
            OSError: The tar file cannot be read there.
        """
        shard, size = self._descriptor(int(self.shard[index])), int(self.size[index])
        content = os.pread(shard, size, int(self.start[index]))
        return dict(img_path=self.path(index), img_bytes=content)

    def _descriptor(self, shard: int) -> int:
        """An open file; those not used for longest are closed, of 256."""
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        if len(self._open) >= MAX_OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        path = os.path.join(self.folder, self.shards[shard])
        self._open[shard] = os.open(path, os.O_RDONLY)
        return self._open[shard]

    def __getstate__(self) -> dict:
        """Without open files, for workers that are not forked."""
        return {**self.__dict__, '_open': OrderedDict()}

    def __del__(self) -> None:
        for descriptor in self.__dict__.get('_open', {}).values():
            os.close(descriptor)

    def __str__(self) -> str:
        return os.path.join(self.folder, INDEX_NAME)


def index_shards(
    folder: str, extensions: tuple[str, ...] | None, report: Callable[[str], None] = print
) -> int:
    """Write the index of the tar files in a folder.

    Args:
        folder: Holds the tar files, in whose name order and inner order the images will be.
        extensions: File name endings of images in lower case; hidden files are left out. None
            where there is nothing but images: takes all files.
        report: Gets a line of text for each tar file.

    Returns:
        int: Number of images.

    Raises:
        DataError: There is no tar file, one is damaged or compressed, or no images are in them.
    """
    paths = sorted(path for path in Path(folder).glob('*.tar') if path.name[0] != '.')
    if not paths:
        raise DataError(f'there are no .tar files in {folder}')
    names, shard, start, size = [], [], [], []
    for number, path in enumerate(paths):
        before = len(names)
        for member in find_members(path, extensions):
            names.append(member.name)
            shard.append(number)
            start.append(member.offset_data)
            size.append(member.size)
        report(
            f'[{number + 1}/{len(paths)}] {counted(len(names) - before, "image")} in {path.name}'
        )
    if not names:
        raise DataError(
            f'no images in the tar files of {folder} ({", ".join(extensions or ["any name"])})'
        )
    shards, packed = PackedStrings(path.name for path in paths), PackedStrings(names)
    with whole_file(Path(folder) / INDEX_NAME) as draft, draft.open('wb') as file:
        np.savez(
            file,
            shard_data=shards.data,
            shard_ends=shards.ends,
            shard_size=np.array([path.stat().st_size for path in paths], np.int64),
            name_data=packed.data,
            name_ends=packed.ends,
            shard=np.array(shard, np.int32),
            start=np.array(start, np.int64),
            size=np.array(size, np.int64),
        )
    return len(names)


def find_members(path: Path, extensions: tuple[str, ...] | None) -> Iterator[tarfile.TarInfo]:
    """The images in a tar file, in its order; ``extensions`` as for :func:`index_shards`.

    Raises:
        DataError: The file is damaged or compressed.
    """
    try:
        with tarfile.open(path, 'r:') as tar:
            for member in tar:
                tar.members = []  # the library keeps them all
                if member.isreg() and _is_image(member.name, extensions):
                    yield member
    except (tarfile.TarError, ValueError, ArithmeticError, EOFError) as error:  # of a bad header
        raise DataError(f'{path} is no whole uncompressed tar file: {first_line(error)}') from error


def _is_image(name: str, extensions: tuple[str, ...] | None) -> bool:
    if extensions is None:
        return bool(name)  # there are tar files whose members have none
    base = os.path.basename(name)
    return not base.startswith('.') and base.lower().endswith(extensions)

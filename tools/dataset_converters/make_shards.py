r"""Put images into a few large tar files, for storage that is slow with many small ones.

The order and the bytes of the images stay, so training on the result equals training on the
folder. Files that cannot be read, which training skips too, are left out and named. The tar files
are ordinary ones, which tar and webdataset read too; beside them is an index, shards.npz, which is
written last.

Example:
    python tools/dataset_converters/make_shards.py data/imagenet data/imagenet_shards
    python tools/train.py configs/pretrain/flsl_vits16_300e.py \
        --cfg-options train_dataloader.dataset.data_root=data/imagenet_shards

Tar files that are there already only need the index. ImageNet is distributed as a tar file of
tar files, one a class, so nothing needs to be unpacked further than that:
    tar xf ILSVRC2012_img_train.tar -C data/imagenet_shards
    python tools/dataset_converters/make_shards.py --index data/imagenet_shards
"""

__tool__ = True

import argparse
import io
import os
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flsl_mm.apis.command_line import positive, run_command, tool_parser
from flsl_mm.datasets.image_files import IMAGE_EXTENSIONS, ImageFiles
from flsl_mm.datasets.tar_shards import INDEX_NAME, index_shards
from flsl_mm.utils.counts import counted
from flsl_mm.utils.errors import DataError
from flsl_mm.utils.files import read_regular, whole_file

READERS = 16


READ_AHEAD = 256


MAX_LEFT_OUT = 0.01  # as BrokenImagesHook tolerates in training


NUM_NAMED = 20


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('src', nargs='?', help='folder of images, as data_root of a pretraining')
    parser.add_argument('dst', nargs='?', help='folder for the tar files, empty or new')
    parser.add_argument('--ann-file', help='list of the images to take, relative to SRC')
    parser.add_argument(
        '--shard-mib', type=positive, default=1024, help='size of a tar file (1024)'
    )
    parser.add_argument('--index', metavar='DIR', help='only index the tar files in DIR')
    args = parser.parse_args(arguments)
    if (args.src is None) != (args.dst is None) or (args.src is None) == (args.index is None):
        parser.error('give either SRC and DST or --index DIR')
    return args


def write_shards(images: ImageFiles, folder: Path, shard_bytes: int) -> int:
    """Write images into numbered tar files.

    Files that cannot be read are left out; the first 20 are named on stderr.

    Args:
        images: What to write, in this order.
        folder: Where to.
        shard_bytes: Size at which a tar file is closed.

    Returns:
        int: Number of images written.

    Raises:
        DataError: The folder has files in it, or no image can be read.
        OSError: A tar file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.name[0] != '.' for path in folder.iterdir()):
        raise DataError(f'{folder} is not empty: remove what is in it or name another folder')
    contents = read_in_order(images)
    entry = next(contents, None)
    start, number, written = time.time(), 0, 0
    while entry is not None:  # never a tar file without images
        with whole_file(folder / f'{number:06}.tar') as draft:
            with tarfile.open(draft, 'w', format=tarfile.PAX_FORMAT) as tar:
                while entry is not None and tar.offset < shard_bytes:
                    done, content = entry
                    member = tarfile.TarInfo(images.names[done])
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                    tar.members = []  # the library keeps them all
                    written += 1
                    entry = next(contents, None)
        number += 1
        left = (time.time() - start) / (done + 1) * (len(images) - done - 1)
        print(
            f'{counted(number, "tar file")}, {written} of {len(images)} images, {left:.0f} s left',
            flush=True,
        )
    if not written:
        raise DataError(f'none of {counted(len(images), "image")} of {images} can be read')
    return written


def read_in_order(images: ImageFiles) -> Iterator[tuple[int, bytes]]:
    """Positions and contents of the files that can be read.

    Several threads read: slow storage takes that well.
    """
    broken = 0
    with ThreadPoolExecutor(READERS) as pool:
        for first in range(0, len(images), READ_AHEAD):
            numbers = range(first, min(first + READ_AHEAD, len(images)))
            for i, content in zip(numbers, pool.map(_read_content, map(images.path, numbers))):
                if isinstance(content, bytes):
                    yield i, content
                    continue
                broken += 1
                if broken <= NUM_NAMED:
                    print(f'image skipped, cannot be read: {content}', file=sys.stderr)


def _read_content(path: str) -> bytes | OSError:
    """The content of a file, or why it cannot be read."""
    try:
        return read_regular(path)
    except OSError as error:
        return error


def find(src: str, ann_file: str | None) -> ImageFiles:
    """The images to write.

    Raises:
        FileNotFoundError: There is no such list.
        DataError: There are no images.
    """
    if ann_file:
        return ImageFiles.in_list(src, os.path.join(src, ann_file))
    return ImageFiles.in_folder(src, IMAGE_EXTENSIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)

    def command() -> None:
        if args.index is None:
            folder, images = args.dst, find(args.src, args.ann_file)
            written = write_shards(images, Path(folder), args.shard_mib << 20)
            left_out = len(images) - written
            count = index_shards(folder, extensions=None)  # a list may name files of any ending
            if count != written:
                raise DataError(f'{count} of {written} images are in {folder}: make it anew')
        else:
            folder, left_out = args.index, 0
            count = index_shards(folder, IMAGE_EXTENSIONS)
        print(f'{counted(count, "image")}; their index is {Path(folder) / INDEX_NAME}')
        if left_out:
            found = f'{left_out} of {len(images)} images left out: they cannot be read'
            if left_out > MAX_LEFT_OUT * len(images):
                raise DataError(f'{found}; the tar files of the others are whole')
            print(found)

    return run_command('make_shards.py', command)


if __name__ == '__main__':
    sys.exit(main())

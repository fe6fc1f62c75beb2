"""Videos and object masks in the layout of DAVIS-2017."""

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..utils.errors import DataError
from ..utils.files import read_regular, whole_folder
from .image_channels import image_size
from .mask_files import read_mask

FRAMES, MASKS, LISTS = 'JPEGImages/480p', 'Annotations/480p', 'ImageSets/2017'


class DavisSequence(NamedTuple):
    """A video with one mask for each frame.

    Attributes:
        name: Such as ``bike-packing``.
        frames: Images, in the order of their names: of the numbers where all are numbers.
        masks: Palette PNGs, of the frames' names and size.
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]


def find_davis(
    data_root: str | PathLike, split: str = 'val', sequences: Iterable[str] | None = None
) -> list[DavisSequence]:
    """The sequences of a split, all with one mask of the right size for each frame.

    Args:
        data_root: With ``JPEGImages/480p/<sequence>/00000.jpg``,
            ``Annotations/480p/<sequence>/00000.png`` and ``ImageSets/2017/val.txt``.
        split: Name of the list of sequences.
        sequences: These instead of those of a list.

    Returns:
        list[DavisSequence]: In the order of the list.

    Raises:
        FileNotFoundError: The list or a folder is missing.
        DataError: The list is empty, a sequence has less than three frames, frames without masks
            or masks without frames, or files of different sizes; the message names the file.
    """
    names = list(dict.fromkeys(sequences or _read_list(Path(data_root, LISTS, f'{split}.txt'))))
    return [
        DavisSequence(name, *_pair(Path(data_root, FRAMES, name), Path(data_root, MASKS, name)))
        for name in names
    ]


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no {path}: the data root is the folder DAVIS, which has JPEGImages, '
            'Annotations and ImageSets'
        )
    names = path.read_text().split()
    if not names:
        raise DataError(f'{path} names no sequence')
    return names


def _pair(frame_folder: Path, mask_folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Frames and masks of a sequence, in order."""
    frames, masks = _by_stem(frame_folder, '.jpg'), _by_stem(mask_folder, '.png')
    for here, there, other in ((frames, masks, mask_folder), (masks, frames, frame_folder)):
        lacking = sorted(here.keys() - there.keys())
        if lacking:
            suffix = '.png' if other is mask_folder else '.jpg'
            raise DataError(
                f'{other / lacking[0]}{suffix} is missing: {len(lacking)} of the {len(here)} files '
                f'in {here[lacking[0]].parent} have no counterpart'
            )
    if len(frames) < 3:
        raise DataError(f'{frame_folder}: {len(frames)} frames; the first and last are not scored')
    order = sorted(frames, key=int if all(map(str.isdecimal, frames)) else None)
    _check_one_size([folder[stem] for stem in order for folder in (masks, frames)])
    return tuple(frames[stem] for stem in order), tuple(masks[stem] for stem in order)


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f'there is no folder {folder}')
    found = (path for path in folder.iterdir() if path.name[0] != '.')  # as a Mac leaves some
    return {path.stem: path for path in found if path.suffix.lower() == suffix}


def _check_one_size(paths: Sequence[Path]) -> None:
    """Images have one size, by what their headers say."""
    expected = None
    for path in paths:
        try:
            size = image_size(path)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f'{path}: not a readable image ({error})') from None
        if expected not in (None, size):
            raise DataError(
                f'{path} is {size[0]} x {size[1]} pixels, {paths[0]} {expected[0]} x {expected[1]}'
            )
        expected = size


def read_frame(path: Path) -> np.ndarray:
    """An image as RGB (H, W, 3) uint8, as stored: the size in the file is that of the masks.

    Raises:
        DataError: It is not readable.
    """
    try:
        content = np.frombuffer(read_regular(path), np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except (OSError, cv2.error):  # which is also raised where the file is empty
        image = None
    if image is None:
        raise DataError(f'{path}: not a readable image')
    return image[..., ::-1]


def read_masks(paths: Sequence[Path], size: tuple[int, int] | None = None) -> np.ndarray:
    """Masks of a sequence (T, H, W) uint8.

    Args:
        paths: One for each frame.
        size: Expected height and width; by default those of the first.

    Raises:
        FileNotFoundError: One is missing.
        DataError: One is not readable, no mask, or has another size.
    """
    masks = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f'there is no mask {path}')
        masks.append(read_mask(path))
        size = size or masks[0].shape
        if masks[-1].shape != size:
            found = masks[-1].shape
            raise DataError(f'{path} is {found[1]} x {found[0]} pixels, not {size[1]} x {size[0]}')
    return np.stack(masks)


def write_masks(folder: Path, names: Sequence[str], masks: np.ndarray) -> None:
    """Write the masks of a sequence as DAVIS has them: all of them or, if killed, no folder.

    Args:
        folder: To make; one that exists is replaced.
        names: Of the files, without suffix: those of the frames.
        masks: (T, H, W) uint8.
    """
    palette = davis_palette().reshape(-1).tolist()
    with whole_folder(folder) as draft:
        for name, mask in zip(names, masks):
            image = Image.fromarray(mask).convert('P')
            image.putpalette(palette)
            image.save(draft / f'{name}.png')


def davis_palette() -> np.ndarray:
    """Colors of the objects in DAVIS' (and PASCAL VOC's) masks, uint8 (256, 3).

    Bits 0, 3 and 6 of an index are the highest bits of red, bits 1, 4 and 7 of green, and so on.
    """
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1]  # lowest first
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= bits[:, bit] << (7 - bit // 3)
    return palette

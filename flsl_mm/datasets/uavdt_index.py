"""Finding, reading and caching one sequence of UAVDT."""

import json
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.logging import MMLogger

from ..utils.errors import DataError
from ..utils.files import read_arrays, whole_file
from .image_channels import image_size
from .uavdt_files import FRAME, find_text, read_ground_truth

# Where the archives' content ends up, below the data root, by how they are unpacked.
IMAGE_FOLDERS = ('UAV-benchmark-M', 'UAV-benchmark-M/UAV-benchmark-M', 'images', '.')
GT_FOLDERS = (
    'UAV-benchmark-MOTD_v1.0/GT',
    'UAV-benchmark-MOTD_v1.0/UAV-benchmark-MOTD_v1.0/GT',
    'UAV-benchmark-M/GT',
    'GT',
)


class SequenceIndex(NamedTuple):
    """Frames of a sequence and what is in them.

    Attributes:
        names: (F,) file names, relative to the sequence's folder.
        frames: (F,) frame numbers, ascending, from 1.
        sizes: (F, 2) width and height in pixels.
        boxes: (N, 9) ground truth in the official columns, unclipped.
        ignored: (M, 9) ignored regions.
    """

    names: np.ndarray
    frames: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    ignored: np.ndarray


def find_folders(data_root: str | PathLike, sequences: Iterable[str]) -> tuple[Path, Path]:
    """The folders of images and of ground truth.

    Args:
        data_root: Where the archives were unpacked.
        sequences: All of these have to be there.

    Returns:
        tuple[Path, Path]: Folder with ``M0203/img000001.jpg``, folder with ``M0203_gt_whole.txt``.

    Raises:
        FileNotFoundError: There is no such folder, or it lacks sequences; the message names them.
    """
    images = _find_part(
        data_root, IMAGE_FOLDERS, 'M[0-9][0-9][0-9][0-9]/', 'images (M0101/img000001.jpg)'
    )
    gt = _find_part(data_root, GT_FOLDERS, 'M*_gt_whole.txt*', 'ground truth (M0101_gt_whole.txt)')
    missing = [name for name in sequences if not (images / name).is_dir()]
    if missing:
        raise FileNotFoundError(f'no images of {", ".join(missing)} in {images}')
    for name in sequences:
        for stem in (f'{name}_gt_whole', f'{name}_gt_ignore'):
            find_text(gt, stem)
    return images, gt


def _find_part(data_root: str | PathLike, folders: Iterable[str], pattern: str, what: str) -> Path:
    for folder in folders:
        path = Path(data_root, folder)
        if path.is_dir() and next(path.glob(pattern), None):
            return path
    raise FileNotFoundError(
        f'UAVDT: no {what} under {data_root}; looked in {", ".join(folders)}: set data_root to '
        'where the official archives were unpacked'
    )


def load_sequence(image_dir: Path, gt_dir: Path, sequence: str, cache_dir: Path) -> SequenceIndex:
    """The index of one sequence, from the cache while nothing it was made from has changed.

    Args:
        image_dir: Folder of the sequences' image folders.
        gt_dir: Folder of the ground truth.
        sequence: Such as ``M0203``.
        cache_dir: Folder for the cached index; one that cannot be written is no error.

    Raises:
        FileNotFoundError: No images.
        DataError: A malformed line or an unreadable image; the message names it.
    """
    folder = image_dir / sequence
    texts = [find_text(gt_dir, f'{sequence}_gt_{kind}') for kind in ('whole', 'ignore')]
    state = json.dumps([_state(path) for path in (_frame_folder(folder), *texts)])
    cached = cache_dir / f'{sequence}.npz'
    index = _read_cache(cached, state)
    if index is None:
        index = read_sequence(folder, gt_dir, sequence)
        _write_cache(cached, state, index)
    missing = np.setdiff1d(index.boxes[:, FRAME], index.frames).astype(int)
    if len(missing):
        MMLogger.get_current_instance().warning(
            f'{folder}: {len(missing)} frames with ground truth have no image, the first is '
            f'{missing[0]}; in the evaluation their vehicles count as missed'
        )
    return index


def read_sequence(folder: Path, gt_dir: Path, sequence: str) -> SequenceIndex:
    """The index of one sequence, from its image folder and ground truth.

    Raises:
        FileNotFoundError: There are no images, or no ground truth.
        DataError: A malformed line or an unreadable image; the message names it.
    """
    found = {}
    for path in _frame_folder(folder).iterdir():
        name = re.fullmatch(r'(?:img)?(\d+)\.(?:jpe?g|png)', path.name, re.IGNORECASE)
        if name:
            found[int(name[1])] = path
    if not found:
        raise FileNotFoundError(f'no images such as img000001.jpg in {folder}')
    frames = sorted(found)
    return SequenceIndex(
        np.array([found[frame].relative_to(folder).as_posix() for frame in frames]),
        np.array(frames),
        np.array([_image_size(found[frame]) for frame in frames]),
        *read_ground_truth(gt_dir, sequence),
    )


def _frame_folder(folder: Path) -> Path:
    """Where a sequence's images are: right in its folder, or in ``img1`` as in MOTChallenge."""
    return folder / 'img1' if (folder / 'img1').is_dir() else folder


def _image_size(path: Path) -> tuple[int, int]:
    try:
        return image_size(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f'{path}: not a readable image ({error})') from None


def _state(path: Path) -> list:
    status = path.stat()
    return [str(path.resolve()), status.st_mtime_ns, status.st_size]


def _read_cache(path: Path, state: str) -> SequenceIndex | None:
    """The cached index; None if there is none, or it is out of date or damaged."""
    try:
        arrays = read_arrays(path)
        if str(arrays['state']) == state:
            index = SequenceIndex(*(arrays[name] for name in SequenceIndex._fields))
            return index if _is_sound(index) else None
    except (DataError, KeyError):
        pass
    return None


def _is_sound(index: SequenceIndex) -> bool:
    """Whether its arrays have the shapes and kinds that they should."""
    count = len(index.names) if index.names.ndim else 0
    shapes = [array.shape for array in index]
    expected = [(count,), (count,), (count, 2), (*shapes[3][:1], 9), (*shapes[4][:1], 9)]
    numbers = all(array.dtype.kind in 'iuf' for array in index[1:])
    return count > 0 and shapes == expected and numbers and index.names.dtype.kind == 'U'


def _write_cache(path: Path, state: str, index: SequenceIndex) -> None:
    try:
        with whole_file(path) as draft, draft.open('wb') as file:
            np.savez(file, state=np.array(state), **index._asdict())
    except OSError as error:
        MMLogger.get_current_instance().warning(f'{path}: index not cached ({error})')

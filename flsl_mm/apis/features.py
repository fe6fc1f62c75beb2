"""Features of any number of images as files, and these files read back."""

import csv
import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import barrier, get_rank, get_world_size, is_main_process
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..datasets.image_channels import COLORS
from ..datasets.image_files import IMAGE_EXTENSIONS, ImageFiles, find_names
from ..datasets.transforms.load_rgb_image import LoadRGBImage
from ..evaluation.tasks.dense_images import network_input
from ..evaluation.tasks.frozen_task import weights_digest
from ..models import FrozenViT
from ..utils.counts import counted
from ..utils.errors import CheckpointError, DataError, first_names
from ..utils.files import read_json, whole_file, write_json
from ..utils.progress import progress

PART = 256  # images that are encoded, and done again after a stop, together
RECORD = 'embed.json'  # the last file to be written
FILES = ('tokens.npy', 'images.npy', 'means.npy', 'index.csv')
COLUMNS = ('image', 'first_row', 'grid_rows', 'grid_columns')


class _Pixels(Dataset):
    """Images of a network's size, or why there is none."""

    def __init__(
        self,
        files: ImageFiles,
        short_side: int,
        vit: FrozenViT,
        value_range: tuple[float, float] | None,
    ) -> None:
        self.files, self.short_side, self.patch_size = files, short_side, vit.patch_size
        # Of a large JPEG twice the pixels that are needed are decoded, a fraction of its work.
        self.load = LoadRGBImage(2 * short_side, value_range, vit.in_channels)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        try:
            pixels = self.load.transform(self.files[index])['img']
        except OSError as error:
            return index, str(error)
        image = Image.fromarray(pixels) if pixels.shape[2] == COLORS else pixels
        return index, network_input(image, self.short_side, self.patch_size)


class _Encoded(NamedTuple):
    """An image: tokens (N, D) float16, vectors (1 or 2, D) float32, rows and columns."""

    tokens: np.ndarray
    vectors: np.ndarray
    grid: tuple[int, int]


def embed_images(
    vit: FrozenViT,
    root: str | os.PathLike,
    out: str | os.PathLike,
    short_side: int = 224,
    what: str = 'both',
    batch_size: int = 32,
    num_workers: int = 2,
    value_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Encode the images below a folder and write their features, whole or not at all.

    ``tokens.npy`` has the patch tokens of all images one after the other, float16 (sum of N, D);
    ``images.npy`` a vector for each image, float32 (images, D), the class token where there is one,
    else the mean of the tokens; beside a class token ``means.npy`` has that mean; ``index.csv`` the
    name, the first row and the grid of each image. Images are encoded in parts of a fixed size and
    order, which are kept in a hidden folder until all are there. So a stopped run goes on with the
    next part, by any number of processes, and the files are the same.

    Args:
        vit: In evaluation mode, on the device to run on.
        root: Folder, searched in depth.
        out: Folder for the files.
        short_side: Pixels that the short side of the images is resized to.
        what: ``'tokens'``, ``'images'`` or ``'both'``.
        batch_size: Images of one size at a time.
        num_workers: Processes that read images.
        value_range: Of levels of more than 8 bits, see :class:`LoadRGBImage`.

    Returns:
        dict: What ``embed.json`` holds: ``job``, ``images`` and ``tokens`` (their numbers),
        ``embed_dims`` and ``unreadable``, the reason by name.

    Raises:
        DataError: There are no images, none can be read, or ``out`` holds something else.
        CheckpointError: A token is too large for float16.
    """
    root, out = os.fspath(root), Path(out)
    if not os.path.isdir(root):
        raise DataError(f'{root} is not a folder of images')
    files = ImageFiles(root, find_names(root, IMAGE_EXTENSIONS))
    if not len(files):
        raise DataError(f'no images found in {root} (looked for {", ".join(IMAGE_EXTENSIONS)})')
    names = hashlib.sha256(files.names.data.tobytes() + files.names.ends.tobytes()).hexdigest()
    job = dict(network=weights_digest(vit), short_side=short_side, what=what, names=names)
    if value_range is not None:
        job['value_range'] = list(value_range)
    if found := _read(out / RECORD):
        return _same_job(found, job, out)
    parts = out / '.parts'
    _start(parts, job)
    pending = [n for n in range(-(-len(files) // PART)) if not _part(parts, n, 'json').exists()]
    barrier()  # nobody writes a part before all have looked
    own = pending[get_rank() :: get_world_size()]
    _encode_parts(vit, files, parts, own, job, batch_size, num_workers)
    barrier()
    if is_main_process():
        _merge(parts, out, job)
    barrier()
    return _read(out / RECORD)


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file, empty where there is none."""
    return read_json(path) if path.is_file() else {}


def _same_job(found: dict[str, Any], job: dict[str, Any], out: Path) -> dict[str, Any]:
    """What was found.

    Raises:
        DataError: It is of another job.
    """
    if other := [name for name in job if found['job'].get(name) != job[name]]:
        raise DataError(
            f'{out} holds features with other {", ".join(other)}: name another folder, or remove it'
        )
    return found


def _start(parts: Path, job: dict[str, Any]) -> None:
    """Begin a job, or go on with it.

    Raises:
        DataError: The folder holds something else.
    """
    started = _read(parts / 'job.json')
    if started:
        _same_job(dict(job=started), job, parts.parent)
    elif foreign := [name for name in FILES if (parts.parent / name).exists()]:
        raise DataError(f'{parts.parent} holds {foreign[0]} already: name another folder')
    barrier()
    if is_main_process():
        write_json(parts / 'job.json', job)


def _part(parts: Path, number: int, kind: str) -> Path:
    return parts / f'{number:06}.{kind}'


@torch.no_grad()
def _encode_parts(
    vit: FrozenViT,
    files: ImageFiles,
    parts: Path,
    numbers: list[int],
    job: dict[str, Any],
    batch_size: int,
    num_workers: int,
) -> None:
    """Encode parts and write each: its arrays, and then the JSON file that says that it is done."""
    ranges = [range(n * PART, min((n + 1) * PART, len(files))) for n in numbers]
    loader = DataLoader(
        _Pixels(files, job['short_side'], vit, job.get('value_range')),
        batch_size=None,
        sampler=[index for part in ranges for index in part],
        collate_fn=lambda sample: sample,
        num_workers=num_workers,
        prefetch_factor=16 if num_workers else None,
        generator=torch.Generator(),
    )
    samples = iter(progress(loader, len(loader), 'images'))
    for number, part in zip(numbers, ranges):
        encoded, unreadable = _encode(vit, islice(samples, len(part)), batch_size)
        images = [encoded[index] for index in sorted(encoded)]
        if images and job['what'] != 'images':
            _save(_part(parts, number, 'tokens.npy'), np.concatenate([i.tokens for i in images]))
        if images and job['what'] != 'tokens':
            _save(_part(parts, number, 'images.npy'), np.stack([i.vectors for i in images]))
        write_json(
            _part(parts, number, 'json'),
            dict(
                names=[files.names[index] for index in sorted(encoded)],
                grids=[image.grid for image in images],
                unreadable={files.names[index]: why for index, why in unreadable.items()},
            ),
        )


def _save(path: Path, array: np.ndarray) -> None:
    with whole_file(path) as draft, draft.open('wb') as file:
        np.save(file, array)


def _encode(
    vit: FrozenViT, samples: Iterable[tuple[int, Tensor | str]], batch_size: int
) -> tuple[dict[int, _Encoded], dict[int, str]]:
    """Encode images, those of one size together, and the reasons of those that are none."""
    waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]] = defaultdict(list)
    encoded: dict[int, _Encoded] = {}
    unreadable: dict[int, str] = {}
    for index, pixels in samples:
        if isinstance(pixels, str):
            unreadable[index] = pixels
            continue
        waiting[pixels.shape].append((index, pixels))
        if len(waiting[pixels.shape]) == batch_size:
            encoded.update(_encode_batch(vit, waiting.pop(pixels.shape)))
    for batch in waiting.values():
        encoded.update(_encode_batch(vit, batch))
    return encoded, unreadable


def _encode_batch(
    vit: FrozenViT, batch: list[tuple[int, Tensor]]
) -> Iterator[tuple[int, _Encoded]]:
    """Encode images of one size.

    Raises:
        CheckpointError: A token is too large for float16.
    """
    device = next(vit.parameters()).device
    pixels = torch.stack([pixels for _, pixels in batch]).to(device)
    tokens, prefix = vit.forward_features(vit.normalize(pixels))
    vectors = tokens.float().mean(dim=1, keepdim=True)
    if vit.has_class_token:
        vectors = torch.cat([prefix[:, :1].float(), vectors], dim=1)
    tokens, vectors = tokens.half().cpu().numpy(), vectors.cpu().numpy()
    if not np.isfinite(tokens).all():
        raise CheckpointError('its tokens are not finite in float16, so they cannot be stored')
    grid = vit.grid_of(pixels)
    for (index, _), *found in zip(batch, tokens, vectors):
        yield index, _Encoded(*found, grid)


def _merge(parts: Path, out: Path, job: dict[str, Any]) -> None:
    """Make the files of all parts, which are gone then.

    Raises:
        DataError: No image could be read.
    """
    numbers = sorted(int(path.stem) for path in parts.glob('[0-9]*.json'))
    records = [_read(_part(parts, n, 'json')) for n in numbers]
    unreadable = {name: why for record in records for name, why in record['unreadable'].items()}
    counts = [sum(rows * columns for rows, columns in r['grids']) for r in records]
    if not sum(counts):
        shutil.rmtree(parts)
        example = ': '.join(next(iter(unreadable.items())))
        raise DataError(
            f'none of {counted(len(unreadable), "image")} can be read, the first: {example}'
        )
    width = 0
    if job['what'] != 'tokens':
        arrays = [_part(parts, n, 'images.npy') for n in numbers]
        vectors = np.concatenate([np.load(path) for path in arrays if path.exists()])
        width = vectors.shape[2]
        for name, array in zip(('images.npy', 'means.npy'), vectors.swapaxes(0, 1)):
            _save(out / name, array)
    if job['what'] != 'images' and not (out / 'tokens.npy').exists():
        width = _merge_tokens(parts, numbers, counts, out / 'tokens.npy')
    width = width or np.load(out / 'tokens.npy', mmap_mode='r').shape[1]
    _write_index(records, out / 'index.csv')
    images = sum(len(record['names']) for record in records)
    numbers = dict(images=images, tokens=sum(counts), embed_dims=width)
    write_json(out / RECORD, dict(job=job, **numbers, unreadable=unreadable))
    shutil.rmtree(parts)


def _merge_tokens(parts: Path, numbers: list[int], counts: list[int], path: Path) -> int:
    """Move the tokens of all parts into one file, with room for one part more; their width D.

    After a stop it goes on: what is no longer there as a part is in the draft.
    """
    draft = parts / 'tokens.npy'
    if not draft.exists():
        first = next(p for n in numbers if (p := _part(parts, n, 'tokens.npy')).exists())
        shape = sum(counts), np.load(first, mmap_mode='r').shape[1]
        with whole_file(draft) as empty:
            np.lib.format.open_memmap(empty, 'w+', np.float16, shape).flush()
    merged = np.lib.format.open_memmap(draft, 'r+')
    start = 0
    for number, count in zip(numbers, counts):
        part = _part(parts, number, 'tokens.npy')
        if part.exists():
            merged[start : start + count] = np.load(part)
            merged.flush()
            part.unlink()
        start += count
    os.replace(draft, path)
    return merged.shape[1]


def _write_index(records: list[dict[str, Any]], path: Path) -> None:
    """A row for each image: name, first row of its tokens, rows and columns of its grid."""
    with (
        whole_file(path) as draft,
        draft.open('w', newline='', encoding='utf-8', errors='surrogateescape') as file,
    ):
        writer, first = csv.writer(file), 0
        writer.writerow(COLUMNS)
        for record in records:
            for name, (rows, columns) in zip(record['names'], record['grids']):
                writer.writerow([name, first, rows, columns])
                first += rows * columns


class _UnknownImage(KeyError):
    """There is no such image. The nearest name is looked for when the text is asked for.

    Among a million names that takes seconds, and ``name in features`` needs no text.
    """

    def __init__(self, name: Any, names: list[str]) -> None:
        super().__init__(name)
        self._names = names

    def __str__(self) -> str:
        [wanted] = self.args
        near = _meant_name(os.fspath(wanted), self._names) if _is_path(wanted) else []
        if near:
            return f'no image is called {wanted!r}: is it {near[0]!r}?'
        known = f'{counted(len(self._names), "image")}, {first_names(self._names)} (see `names`)'
        return f'no image is called {wanted!r}: among {known}'


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _meant_name(wanted: str, names: list[str]) -> list[str]:
    """The name that was probably meant, alone in a list; empty where none is like it.

    That is the same file's in another folder or with another suffix, else one that is spelt alike.
    """
    for part in ('name', 'stem'):
        file = getattr(PurePath(wanted), part)
        if same := [name for name in names if getattr(PurePath(name), part) == file]:
            return get_close_matches(wanted, same, n=1, cutoff=0)
    return get_close_matches(wanted, names, n=1, cutoff=0.75)


class Features(Mapping):
    """The features of images by name, read from disk when they are asked for.

    Attributes:
        names: Of the images, in the order of the arrays.
        images: float32 (images, D), see :func:`embed_images`; None where they were not written.
        means: Mean tokens, beside class tokens; else None.
        tokens: float16 (sum of N, D); None where they were not written.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        folder = Path(folder)
        if not (folder / RECORD).is_file():
            raise DataError(f'{folder} holds no whole features: run tools/embed.py (again)')
        with (folder / 'index.csv').open(
            newline='', encoding='utf-8', errors='surrogateescape'
        ) as file:
            rows = list(csv.reader(file))[1:]
        self._places = {name: tuple(map(int, place)) for name, *place in rows}
        self.names = list(self._places)
        self.tokens, self.images, self.means = (
            np.load(folder / name, mmap_mode='r') if (folder / name).is_file() else None
            for name in FILES[:3]
        )

    def __getitem__(self, name: str) -> np.ndarray:
        """Tokens (h, w, D), float16, of an image.

        Raises:
            KeyError: There is no such image; its text names the nearest.
            DataError: The tokens were not written.
        """
        if name not in self._places:
            raise _UnknownImage(name, self.names)
        first, rows, columns = self._places[name]
        if self.tokens is None:
            raise DataError('these features have no tokens: they were made with --what images')
        return self.tokens[first : first + rows * columns].reshape(rows, columns, -1)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)


def open_features(folder: str | os.PathLike) -> Features:
    """The features that ``tools/embed.py`` wrote.

    Raises:
        DataError: There are none, or not all.

    Examples:
        >>> open_features('work_dirs/features')['cat.jpg'].shape  # doctest: +SKIP
        (14, 18, 384)
    """
    return Features(folder)

r"""Bring DAVIS-2016, CamVid, Tiny-ImageNet and clothing photographs into layouts for frozen tasks.

Images are linked to, not copied. DAVIS-2016 becomes DAVIS-2017's layout with one object a video;
CamVid (the 11 classes of SegNet's tutorial, 11 is void) pairs of images and masks; Tiny-ImageNet
ImageNet's folders with an XML file for each box; Clothing Co-Parsing (59 tags) pairs of images and
masks, of which every second one is to learn from.

Example:
    python tools/dataset_converters/prepare_photographs.py data/photographs \
        --davis-2016 data/DAVIS-2016 --camvid data/CamVid --tiny-imagenet data/tiny-imagenet-200 \
        --clothing data/clothing-co-parsing
"""

__tool__ = True

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from flsl_mm.apis.command_line import positive, run_command, start_tool, tool_parser


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to make')
    sets = dict(
        davis_2016='with JPEGImages/480p and Annotations/480p, masks of 0 and 255',
        camvid='with train, trainannot, test and testannot',
        tiny_imagenet='with train/<class>/<class>_boxes.txt and val/val_annotations.txt',
        clothing='with photos and annotations/pixel-level',
    )
    for name, text in sets.items():
        parser.add_argument(f'--{name.replace("_", "-")}', type=Path, metavar='DIR', help=text)
    parser.add_argument(
        '--classes',
        type=positive,
        default=50,
        metavar='N',
        help='of Tiny-ImageNet, evenly spaced over its 200 (%(default)s)',
    )
    parser.add_argument(
        '--per-class',
        type=positive,
        default=100,
        metavar='N',
        help='training images of each, the first ones (%(default)s)',
    )
    return parser


if __name__ == '__main__':
    start_tool(lambda: build_parser().parse_args())

import os
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from scipy.io import loadmat

from flsl_mm.datasets.davis import FRAMES, LISTS, MASKS
from flsl_mm.datasets.mask_files import read_mask
from flsl_mm.utils.errors import DataError
from flsl_mm.utils.files import whole_folder
from flsl_mm.utils.images import evenly_spaced

OBJECT = 255  # DAVIS-2016: of a pixel of the object; in DAVIS-2017 it is one that does not count
VOID, IGNORED = 11, 255  # CamVid's, and that of masks here
TAGS = 59  # of Clothing Co-Parsing, with background


def convert_davis(source: Path, out: Path) -> str:
    """DAVIS-2016 as DAVIS-2017 with one object a sequence.

    Raises:
        DataError: A mask has other values than 0 and 255, or there are no sequences.
    """
    masks = sorted((source / MASKS).glob('*/*.png'))
    names = sorted({mask.parent.name for mask in masks})
    if not names:
        raise DataError(f'there are no masks in {source / MASKS}')
    for name in names:
        _link(source / FRAMES / name, out / FRAMES / name)
    for path in masks:
        mask = read_mask(path)
        if not np.isin(mask, (0, OBJECT)).all():
            raise DataError(f'{path} is no mask of DAVIS-2016: it has values beside 0 and {OBJECT}')
        _save_mask(mask // OBJECT, out / MASKS / path.parent.name / path.name)
    _write(out / LISTS / 'val.txt', '\n'.join(names))
    return f'{len(names)} sequences, {len(masks)} frames'


def convert_camvid(source: Path, out: Path) -> str:
    """CamVid as images and masks of 11 classes: its train images, and its test images as ``val``.

    Raises:
        DataError: There are no masks.
    """
    counts = {}
    for split, name in (('train', 'train'), ('test', 'val')):
        masks = sorted((source / f'{split}annot').glob('*.png'))
        if not masks:
            raise DataError(f'there are no masks in {source / f"{split}annot"}')
        _link(source / split, out / 'images' / name)
        for path in masks:
            mask = read_mask(path)
            _save_mask(np.where(mask == VOID, IGNORED, mask), out / 'masks' / name / path.name)
        counts[name] = len(masks)
    return ', '.join(f'{count} {name} images' for name, count in counts.items())


def convert_tiny_imagenet(source: Path, out: Path, classes: int, per_class: int) -> str:
    """Some classes of Tiny-ImageNet as ImageNet with boxes.

    Raises:
        DataError: There are no lists of boxes.
    """
    lists = sorted((source / 'train').glob('*/*_boxes.txt'))
    val = source / 'val/val_annotations.txt'
    if not lists or not val.is_file():
        raise DataError(f'{source} has no train/<class>/<class>_boxes.txt or no {val.name} in val')
    counts = dict(train=0, val=0)
    chosen = evenly_spaced(lists, min(classes, len(lists)))
    for path in chosen:
        name = path.parent.name
        for file, box in list(_box_lines(path))[:per_class]:
            image = Path('train', name, file)
            _link(source / 'train' / name / 'images' / file, out / image)
            _write_box(out / 'Annotations' / image.with_suffix('.xml'), name, box)
            counts['train'] += 1
    known = {path.parent.name for path in chosen}
    for file, (name, *box) in _box_lines(val):
        if name in known:
            _link(source / 'val/images' / file, out / 'val' / file)
            _write_box((out / 'Annotations/val' / file).with_suffix('.xml'), name, box)
            counts['val'] += 1
    return f'{len(chosen)} classes, {counts["train"]} and {counts["val"]} images'


def convert_clothing(source: Path, out: Path) -> str:
    """Clothing Co-Parsing as images and masks of its 59 tags, the first of which is background.

    There is no official split: of the photographs with masks, in order, the first is in ``train``,
    the second in ``val``, and so on.

    Raises:
        DataError: There are no masks, or one is not of its photograph.
    """
    paths = sorted((source / 'annotations/pixel-level').glob('*.mat'))
    if len(paths) < 2:
        raise DataError(f'there are no masks in {source / "annotations/pixel-level"}')
    for index, path in enumerate(paths):
        split = ('train', 'val')[index % 2]
        photo = source / 'photos' / f'{path.stem}.jpg'
        _link(photo, out / 'images' / split / photo.name)
        mask = _read_clothing_mask(path)
        with Image.open(photo) as image:
            if image.size != mask.shape[::-1]:
                raise DataError(f'{path} is {mask.shape[::-1]} pixels, its photograph {image.size}')
        _save_mask(mask, out / 'masks' / split / f'{path.stem}.png')
    return f'{(len(paths) + 1) // 2} train images, {len(paths) // 2} val images'


def _read_clothing_mask(path: Path) -> np.ndarray:
    """Tags ``(H, W)`` of a MATLAB file.

    Raises:
        DataError: It is none, or has no mask of the 59 tags.
    """
    try:
        mask = loadmat(path)['groundtruth']
    except Exception as error:  # as for other masks: any type on damaged files
        raise DataError(f'{path} is no mask of Clothing Co-Parsing: {error}') from error
    if mask.ndim != 2 or mask.max(initial=0) >= TAGS:
        raise DataError(f'{path} is no mask of Clothing Co-Parsing: its tags are not below {TAGS}')
    return mask


def _box_lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """File name and other columns of each line."""
    for line in path.read_text().splitlines():
        file, *columns = line.split()
        yield file, columns


def _write_box(path: Path, name: str, box: Sequence[str]) -> None:
    """An annotation of ILSVRC's localization task for an image of 64 x 64 pixels."""
    root = ElementTree.Element('annotation')
    for tag, texts in (('size', (64, 64)), ('object', (name,))):
        node = ElementTree.SubElement(root, tag)
        for key, text in zip(('width', 'height') if tag == 'size' else ('name',), texts):
            ElementTree.SubElement(node, key).text = str(text)
    corners = ElementTree.SubElement(node, 'bndbox')
    for key, text in zip(('xmin', 'ymin', 'xmax', 'ymax'), box):
        ElementTree.SubElement(corners, key).text = text
    _write(path, ElementTree.tostring(root, encoding='unicode'))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def _save_mask(mask: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


def _link(source: Path, target: Path) -> None:
    if not source.exists():
        raise DataError(f'there is no {source}')
    target.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(source.resolve(), target)


def prepare(args: argparse.Namespace) -> None:
    """Make what was asked for.

    Raises:
        DataError: A set is not as it should be, or none is given.
    """
    jobs = dict(
        davis=(args.davis_2016, convert_davis, ()),
        camvid=(args.camvid, convert_camvid, ()),
        tiny=(args.tiny_imagenet, convert_tiny_imagenet, (args.classes, args.per_class)),
        clothing=(args.clothing, convert_clothing, ()),
    )
    jobs = {name: job for name, job in jobs.items() if job[0] is not None}
    if not jobs:
        raise DataError('give at least one of --davis-2016, --camvid, --tiny-imagenet, --clothing')
    for name, (source, convert, more) in jobs.items():
        with whole_folder(args.out / name) as draft:
            found = convert(source, draft, *more)
        print(f'{args.out / name}: {found}')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    return run_command(parser.prog, lambda: prepare(args))


if __name__ == '__main__':
    sys.exit(main())

r"""Draw scenes in the layouts of the real data sets, to try everything without these.

Textured, shaded objects of six classes (ball, crate, tent, tyre, starfish, chimney) on one or two
of four kinds of ground (grass, sand, water, tiles), with boxes, masks and class labels, and short
videos; for UAVDT vehicles on a road. Each layout is a folder of OUT, called as the configs call it
below data/:

    imagenet  class folders and a flat validation folder, boxes in XML
    coco      instances as JSON, masks as polygons or run lengths
    ade       ADEChallengeData2016: a class for every pixel, 0 is unlabelled
    DAVIS     DAVIS-2017: videos with palette masks
    uavdt     sequences M0101 (training) and M0203 (test)

The same seed draws the same files. A layout that is there is not drawn again by the same arguments,
and is left alone by others.

Example:
    python tools/dataset_converters/make_scenes.py data/scenes --layouts imagenet DAVIS
"""

__tool__ = True

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from flsl_mm.apis.command_line import positive, run_command, tool_parser
from flsl_mm.datasets import scenes
from flsl_mm.datasets.scenes.layouts import MIN_SIDE

UAVDT_SEQUENCES = ('M0101', 'M0203')


RECORD = 'drawn.json'  # in the folder of a layout: what it was drawn by


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('make_scenes.py', lambda: draw_scenes(args))


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('out', type=Path, metavar='OUT', help='folder to draw into')
    names = ['imagenet', 'coco', 'ade', 'DAVIS', 'uavdt']
    parser.add_argument('--layouts', nargs='+', choices=names, default=names)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--train', type=positive, default=600, help='training images of imagenet, coco and ade'
    )
    parser.add_argument('--val', type=positive, default=120, help='validation images of these')
    parser.add_argument('--videos', type=positive, default=6, help='validation videos of DAVIS')
    parser.add_argument('--frames', type=positive, default=12, help='frames of each video')
    parser.add_argument('--side', type=positive, default=96, help='shorter side in pixels')
    args = parser.parse_args(arguments)
    if args.side < MIN_SIDE:
        parser.error(f'--side must be at least {MIN_SIDE} for objects to be seen, got {args.side}')
    return args


def draw_scenes(args: argparse.Namespace) -> None:
    """Draw the layouts that are not there.

    Raises:
        OSError: A folder is something else, or cannot be written.
    """
    writers = make_writers(args)
    # All of them before any is drawn.
    missing = [name for name in args.layouts if not is_drawn(writers[name], args.out / name)]
    for layout in args.layouts:
        folder, start = args.out / layout, time.time()
        if layout not in missing:
            print(f'{folder}: drawn before')
            continue
        draw_whole(writers[layout], folder)
        print(f'{folder}: drawn in {time.time() - start:.1f} s', flush=True)


def make_writers(args: argparse.Namespace) -> dict[str, partial]:
    """What fills the folder of each layout."""
    side, wide = (args.side, args.side), (args.side * 4 // 3, args.side)
    images = dict(num_train=args.train, num_val=args.val, seed=args.seed)
    videos = dict(num_frames=args.frames, size=wide, seed=args.seed)
    return dict(
        imagenet=partial(scenes.write_imagenet, side=args.side, **images),
        coco=partial(scenes.write_coco, size=wide, **images),
        ade=partial(write_ade, size=side, **images),
        DAVIS=partial(scenes.write_davis, num_val=args.videos, **videos),
        uavdt=partial(scenes.write_uavdt, sequences=UAVDT_SEQUENCES, **videos),
    )


def write_ade(root: Path, **settings) -> None:
    """Fill the folder ``ade`` as the real one is filled."""
    scenes.write_ade20k(root / 'ADEChallengeData2016', **settings)


def is_drawn(write: partial, folder: Path) -> bool:
    """Whether ``folder`` is what ``write`` draws.

    Raises:
        FileExistsError: It is something else.
    """
    if not folder.exists():
        return False
    record = folder / RECORD
    if record.is_file() and record.read_text() == json.dumps(write.keywords):
        return True
    raise FileExistsError(
        f'{folder} exists, and was not drawn by these arguments: remove it, or draw into another '
        'folder'
    )


def draw_whole(write: partial, folder: Path) -> None:
    """Fill ``folder``, which appears when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}-') as parent:
        draft = Path(parent, folder.name)
        write(draft)
        (draft / RECORD).write_text(json.dumps(write.keywords))
        draft.rename(folder)


if __name__ == '__main__':
    sys.exit(main())

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

The same seed draws the same files.

Example:
    python tools/dataset_converters/make_scenes.py data/scenes --layouts imagenet DAVIS
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from flsl_mm.datasets import scenes

UAVDT_SEQUENCES = ('M0101', 'M0203')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    writers = make_writers(args)
    try:
        for layout in args.layouts:
            folder = args.out / layout
            if folder.exists():
                raise FileExistsError(f'{folder} exists: remove it, or draw into another folder')
        for layout in args.layouts:
            start = time.time()
            draw_whole(writers[layout], args.out / layout)
            print(f'{args.out / layout}: drawn in {time.time() - start:.1f} s', flush=True)
    except OSError as error:
        print(f'make_scenes.py: error: {error}', file=sys.stderr)
        return 2
    return 0


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{value} is not positive')
    return value


def make_writers(args: argparse.Namespace) -> dict[str, Callable[[Path], None]]:
    """What fills the folder of each layout."""
    side, wide = (args.side, args.side), (args.side * 4 // 3, args.side)
    images = dict(num_train=args.train, num_val=args.val, seed=args.seed)
    videos = dict(num_frames=args.frames, size=wide, seed=args.seed)
    return dict(
        imagenet=partial(scenes.write_imagenet, side=args.side, **images),
        coco=partial(scenes.write_coco, size=wide, **images),
        ade=lambda root: scenes.write_ade20k(root / 'ADEChallengeData2016', size=side, **images),
        DAVIS=partial(scenes.write_davis, num_val=args.videos, **videos),
        uavdt=partial(scenes.write_uavdt, sequences=UAVDT_SEQUENCES, **videos),
    )


def draw_whole(write: Callable[[Path], None], folder: Path) -> None:
    """Fill ``folder``, which appears when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}-') as draft:
        write(Path(draft, folder.name))
        Path(draft, folder.name).rename(folder)


if __name__ == '__main__':
    sys.exit(main())

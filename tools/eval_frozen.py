r"""Dense evaluation of frozen checkpoints: retrieval, clusters, objects and signs of collapse.

Labels come from folders of images and masks (mmseg's layouts) or from COCO-style instances; no
training. One table for all checkpoints.

Example:
    python tools/eval_frozen.py work_dirs/flsl_vits16_300e/epoch_300.pth dino_vits16.pth \
        random:deit-small/16 --data data/coco --max-images 500
"""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence

from flsl_mm.apis.command_line import frozen_parser, start_tool

TASKS = ('SegmentationRetrieval', 'TokenClustering', 'ObjectDiscovery', 'CollapseMonitors')


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = frozen_parser(__doc__, out='work_dirs/eval_frozen.json')
    parser.add_argument(
        '--data',
        required=True,
        metavar='DIR_OR_CONFIG',
        help='folder in the layout of COCO 2017, or with images and annotations (or masks; or '
        'img_dir and ann_dir), perhaps each with training and validation (or train and val); or a '
        'config with val and perhaps train, such as configs/frozen/ade20k.py; for '
        'CollapseMonitors alone any folder of images',
    )
    parser.add_argument(
        '--reduce-zero-label',
        action='store_true',
        help='0 in a mask is unlabelled and the classes start at 1 (ADE20K); for folders',
    )
    parser.add_argument(
        '--tasks',
        nargs='+',
        choices=TASKS,
        default=TASKS,
        metavar='NAME',
        help=f'some of {", ".join(TASKS)} (all)',
    )
    parser.add_argument(
        '--short-side',
        type=int,
        default=448,
        metavar='PIXELS',
        help='short side that images are resized to (%(default)s)',
    )
    parser.add_argument(
        '--max-images',
        type=int,
        metavar='N',
        help='evaluate only N images, evenly spaced, and retrieve from as many',
    )
    parser.add_argument(
        '--num-workers', type=int, default=2, metavar='N', help='processes reading images (2)'
    )
    return parser


if __name__ == '__main__':
    start_tool(lambda: build_parser().parse_args())

from flsl_mm.apis.frozen import (
    build_from_settings,
    read_labeled_images,
    run_frozen_command,
)
from flsl_mm.evaluation.tasks.frozen_task import FrozenTask


def build_tasks(args: argparse.Namespace) -> list[FrozenTask]:
    """The suite on the data of the command line.

    Raises:
        DataError: The data cannot be used, or a number is out of range.
    """
    options = dict(reduce_zero_label=True) if args.reduce_zero_label else {}
    options['plain'] = set(args.tasks) == {'CollapseMonitors'}  # which needs no labels
    train, val = read_labeled_images(args.data, **options)
    for images in (train, val):
        if images is not None and args.max_images is not None:
            images['max_images'] = args.max_images
    suite = dict(
        type='DenseSuite',
        val=val,
        train=train,
        tasks=[dict(type=name) for name in args.tasks],
        short_side=args.short_side,
        num_workers=args.num_workers,
    )
    return [build_from_settings(suite)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_frozen_command(build_parser(), build_tasks, arguments)


if __name__ == '__main__':
    sys.exit(main())

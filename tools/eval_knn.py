r"""Box-aligned k-NN on ImageNet of frozen networks, with the level of chance beside it.

Example:
    python tools/eval_knn.py flsl_vits16.pth dino_deitsmall16_pretrain.pth random:deit-small/16 \
        --data-root data/imagenet
"""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence

from flsl_mm.apis.command_line import add_task_arguments, frozen_parser, start_tool


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = frozen_parser(__doc__, out='work_dirs/eval_knn.json')
    add_task_arguments(parser, 'BoxKNN')
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        help='ImageNet with Data/CLS-LOC and Annotations/CLS-LOC (data/imagenet)',
    )
    parser.add_argument(
        '--ks',
        type=int,
        nargs='+',
        metavar='K',
        help='numbers of neighbors (20 10 100 200); chance is measured for the first',
    )
    parser.add_argument(
        '--train-per-class',
        type=int,
        metavar='N',
        help='at most that many training images of each class (all that have boxes)',
    )
    parser.add_argument(
        '--max-test-images', type=int, metavar='N', help='at most that many test images (all)'
    )
    parser.add_argument(
        '--batch-size', type=int, metavar='N', help='images of a batch, in each process (64)'
    )
    parser.add_argument(
        '--num-workers', type=int, metavar='N', help='data workers of each process (4)'
    )
    parser.add_argument(
        '--max-memory',
        type=int,
        metavar='BYTES',
        help='bound of the memory for the search for neighbors, beside the features (1 GiB)',
    )
    parser.add_argument(
        '--cache-dir',
        metavar='DIR',
        default='work_dirs/knn_features',
        help="folder where features are kept for the next time, '' for nowhere (%(default)s)",
    )
    return parser


if __name__ == '__main__':
    start_tool(lambda: build_parser().parse_args())

from flsl_mm.apis.frozen import build_task, run_frozen_command


def build_tasks(args: argparse.Namespace) -> list:
    """The one task, with what the command line says."""
    names = (
        'data_root',
        'ks',
        'train_per_class',
        'max_test_images',
        'batch_size',
        'num_workers',
        'max_memory',
    )
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return [build_task(args, 'BoxKNN', cache_dir=args.cache_dir or None, **given)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_frozen_command(build_parser(), build_tasks, arguments)


if __name__ == '__main__':
    sys.exit(main())

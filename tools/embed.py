r"""Features of a folder of images as files: patch tokens, and a vector for each image.

OUT gets tokens.npy, images.npy, index.csv and embed.json, whole or not at all; the same command
goes on after a stop. docs/use.md says what is in them and how to read them.

Example:
    python tools/embed.py epoch_300.pth photos/ work_dirs/features --short-side 448
"""

__tool__ = True

import argparse
import os
import sys
from collections.abc import Sequence

from flsl_mm.apis.command_line import (
    add_launcher_arguments,
    add_network_arguments,
    end_processes,
    log_details,
    not_negative,
    positive,
    report_unreadable,
    run_command,
    start_tool,
    tool_parser,
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_network_arguments(parser, 'checkpoint', several=False)
    parser.add_argument('images', metavar='IMAGES', help='folder of images, searched in depth')
    parser.add_argument('out', metavar='OUT', help='folder to write')
    parser.add_argument(
        '--what',
        choices=('tokens', 'images', 'both'),
        default='both',
        help='patch tokens, a vector for each image, or %(default)s',
    )
    parser.add_argument(
        '--short-side',
        type=positive,
        default=224,
        metavar='PIXELS',
        help='short side that images are resized to, rounded to whole patches (%(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        default=32,
        metavar='N',
        help='images of one size at a time (%(default)s)',
    )
    parser.add_argument(
        '--num-workers',
        type=not_negative,
        default=2,
        metavar='N',
        help='processes reading images (%(default)s)',
    )
    parser.add_argument(
        '--value-range',
        type=float,
        nargs=2,
        metavar=('DARK', 'BRIGHT'),
        help='values that become 0 and 255, of more than 8 bits (by default those of each image)',
    )
    add_launcher_arguments(parser)
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args, has_log=True)

from mmengine.dist import is_main_process

from flsl_mm.apis.features import embed_images
from flsl_mm.apis.frozen import start_processes, usable_device
from flsl_mm.models import build_vit
from flsl_mm.utils.counts import counted


def embed_files(args: argparse.Namespace) -> None:
    """Encode the images, and say what was written.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        DataError: The images cannot be, or OUT holds something else.
    """
    args.device = usable_device(args.device)
    start_processes(args)
    log_details(os.path.join(args.out, 'embed.log'))
    vit = build_vit(args.checkpoint, args.key, args.num_heads, args.trust, args.seed).to(
        args.device
    )
    height, width = vit.img_size
    if is_main_process() and min(height, width) != args.short_side:
        print(
            f'short side {args.short_side}; the positions of {args.checkpoint} are of images of '
            f'{height} x {width} pixels',
            flush=True,
        )
    found = embed_images(
        vit,
        args.images,
        args.out,
        args.short_side,
        args.what,
        args.batch_size,
        args.num_workers,
        args.value_range,
    )
    if is_main_process():
        left = report_unreadable(found['unreadable'])
        print(
            f'{counted(found["images"], "image")}, {counted(found["tokens"], "token")} of '
            f'{found["embed_dims"]}{left}\n'
            f'written to {args.out}'
        )
    end_processes(args)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('embed.py', lambda: embed_files(args))


if __name__ == '__main__':
    sys.exit(main())

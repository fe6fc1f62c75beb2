r"""Evaluate frozen checkpoints on the tasks of a config: k-NN, DAVIS, dense tasks; no training.

One table for all checkpoints, and one JSON file with every number.

Example:
    python tools/eval_frozen.py configs/frozen/all.py \
        FLSL=work_dirs/flsl_vits16_300e/epoch_300.pth dino_vits16.pth random:deit-small/16 \
        --cfg-options knn.train_per_class=100 davis.data_root=data/DAVIS
"""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence

from flsl_mm.apis.command_line import (
    add_launcher_arguments,
    add_network_arguments,
    add_options_argument,
    run_command,
    start_tool,
    tool_parser,
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'config',
        metavar='CONFIG',
        help='file with the tasks and where their data are, such as configs/frozen/all.py',
    )
    add_network_arguments(parser)
    add_options_argument(
        parser,
        'override settings, such as knn.data_root=DIR davis.short_side=240',
        'TASK.KEY=VALUE',
    )
    parser.add_argument(
        '--out', metavar='FILE', help='JSON file (work_dirs/<name of the config>.json)'
    )
    add_launcher_arguments(parser)
    return parser


if __name__ == '__main__':
    start_tool(lambda: build_parser().parse_args(), has_log=True)

from flsl_mm.apis.frozen import evaluate_frozen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    return run_command(parser.prog, lambda: evaluate_frozen(args))


if __name__ == '__main__':
    sys.exit(main())

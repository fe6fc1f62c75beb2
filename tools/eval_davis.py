r"""Semi-supervised DAVIS-2017 with frozen features, by label propagation; or score existing masks.

Finished sequences are kept and found again when the command is repeated.

Example:
    python tools/eval_davis.py work_dirs/flsl_vits16_300e/epoch_300.pth random:deit-small/16 \
        --data-root data/DAVIS
    python tools/eval_davis.py --masks RESULTS --data-root data/DAVIS
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Before torch is imported: see tools/train.py.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

from flsl_mm.apis.command_line import run_command
from flsl_mm.apis.frozen import (
    add_task_arguments,
    build_task,
    frozen_parser,
    run_frozen_command,
    write_results,
)
from flsl_mm.datasets.davis import find_davis, read_masks
from flsl_mm.evaluation import comparison_table
from flsl_mm.evaluation.functional.davis import measure_sequence, summarize_davis
from flsl_mm.evaluation.tasks import FrozenTask
from flsl_mm.utils.errors import errors_about
from flsl_mm.utils.files import check_writable

TASK = 'DavisPropagation'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = frozen_parser(__doc__, out='work_dirs/eval_davis.json', optional=True)
    add_task_arguments(parser, TASK)
    parser.add_argument(
        '--data-root', metavar='DIR', help='folder with JPEGImages, Annotations and ImageSets'
    )
    parser.add_argument('--split', metavar='NAME', help='list in ImageSets/2017 (val)')
    parser.add_argument('--sequences', nargs='+', metavar='NAME', help='these instead of a list')
    parser.add_argument(
        '--masks-dir',
        metavar='DIR',
        default='work_dirs/davis',
        help='where masks are kept, in a folder for each network (%(default)s)',
    )
    parser.add_argument(
        '--masks',
        metavar='DIR',
        help='score <DIR>/<sequence>/00000.png ... of any method instead of a network',
    )
    args = parser.parse_args(arguments)
    if bool(args.masks) == bool(args.checkpoints):
        parser.error('give either checkpoints or --masks')
    if args.masks:
        return run_command(parser.prog, lambda: score_masks(args))
    return run_frozen_command(parser, build_tasks, arguments, report)


def build_tasks(args: argparse.Namespace) -> list[FrozenTask]:
    """The task of the command line."""
    return [build_task(args, TASK, out_dir=args.masks_dir, **data_settings(args))]


def data_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says about the data."""
    settings = dict(data_root=args.data_root, split=args.split, sequences=args.sequences)
    return {name: value for name, value in settings.items() if value}


def score_masks(args: argparse.Namespace) -> None:
    """J and F of the masks in a folder."""
    sequences = find_davis(**dict(dict(data_root='data/DAVIS'), **data_settings(args)))
    check_writable(args.out)
    measures = {}
    for number, sequence in enumerate(sequences, 1):
        print(f'{sequence.name} ({number}/{len(sequences)})', file=sys.stderr, flush=True)
        truth = read_masks(sequence.masks)
        folder = Path(args.masks, sequence.name)
        names = [folder / mask.name for mask in sequence.masks]
        # Not every method writes the first and the last frame, which are not scored.
        masks = truth.copy()
        masks[1:-1] = read_masks(names[1:-1], truth.shape[1:])
        with errors_about(folder):
            measures[sequence.name] = measure_sequence(truth, masks)
    results = {args.masks: {'davis': summarize_davis(measures)}}
    print(report(results))
    write_results(results, args)
    print(f'written to {args.out}')


def report(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One table of the sequences for each network, and one of all networks."""
    tables = []
    for network, found in results.items():
        rows = {name: {'': numbers} for name, numbers in found['davis']['sequences'].items()}
        tables.append(f'{network}\n{comparison_table(rows)}')
    return '\n\n'.join([*tables, comparison_table(results)])


if __name__ == '__main__':
    sys.exit(main())

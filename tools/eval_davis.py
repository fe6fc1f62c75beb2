r"""J and F on DAVIS-2017 of the masks of any method, as the official evaluator computes them.

Example:
    python tools/eval_davis.py RESULTS --data-root data/DAVIS
"""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flsl_mm.apis.command_line import (
    run_command,
    tool_parser,
)
from flsl_mm.datasets.davis import find_davis, read_masks
from flsl_mm.evaluation import comparison_table
from flsl_mm.evaluation.functional.davis import measure_sequence, summarize_davis
from flsl_mm.utils.errors import errors_about
from flsl_mm.utils.files import check_writable, write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('eval_davis.py', lambda: evaluate(args))


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'masks', metavar='MASKS', help='folder with <sequence>/00000.png ... (palette PNGs)'
    )
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        default='data/DAVIS',
        help='folder with JPEGImages, Annotations and ImageSets (%(default)s)',
    )
    parser.add_argument(
        '--split', metavar='NAME', default='val', help='list in ImageSets/2017 (%(default)s)'
    )
    parser.add_argument('--sequences', nargs='+', metavar='NAME', help='these instead of a list')
    parser.add_argument(
        '--out',
        metavar='FILE',
        default='work_dirs/eval_davis.json',
        help='JSON file for the numbers (%(default)s)',
    )
    return parser.parse_args(arguments)


def evaluate(args: argparse.Namespace) -> None:
    """Print J and F of every sequence and over all objects, and write them.

    Raises:
        DataError: A mask is missing, or not what it should be.
        OSError: Data are missing, or a file cannot be written.
    """
    sequences = find_davis(args.data_root, args.split, args.sequences)
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
    result = summarize_davis(measures)
    rows = {**result['sequences'], 'all objects': result}
    print(comparison_table({name: {'': numbers} for name, numbers in rows.items()}))
    write_json(args.out, result)
    print(f'written to {args.out}')


if __name__ == '__main__':
    sys.exit(main())

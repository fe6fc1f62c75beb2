r"""AP on UAVDT of detections in the official text format, as the official toolkit computes it.

Example:
    python tools/eval_uavdt.py UAV-benchmark-MOTD_v1.0/GT RES_DET/my_detector
"""

__tool__ = True

import argparse
import sys
from collections.abc import Sequence

from flsl_mm.apis.command_line import run_command, tool_parser
from flsl_mm.datasets.uavdt_files import read_frame_list
from flsl_mm.evaluation import evaluate_uavdt
from flsl_mm.utils.files import check_writable, write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('eval_uavdt.py', lambda: evaluate_files(args))


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'gt_dir', metavar='GT_DIR', help='folder with M0203_gt_whole.txt, M0203_gt_ignore.txt, ...'
    )
    parser.add_argument(
        'detection_dir',
        metavar='DET_DIR',
        help='folder with M0203.txt, ...; either folder may hold .txt.gz instead',
    )
    parser.add_argument('--iou', type=float, default=0.7, help='IoU threshold (%(default)s)')
    parser.add_argument(
        '--sequences',
        nargs='+',
        metavar='NAME',
        help='sequences to evaluate (the test sequences with ground truth in GT_DIR)',
    )
    parser.add_argument(
        '--frame-list',
        metavar='FILE',
        help='evaluate only the frames in this file, one such as M0203/img000001.jpg a line',
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        default='work_dirs/eval_uavdt.json',
        help='JSON file for the numbers (%(default)s)',
    )
    return parser.parse_args(arguments)


def evaluate_files(args: argparse.Namespace) -> None:
    """Print and write AP.

    Raises:
        DataError: A line of a file is malformed, or an argument does not do.
        OSError: A file is missing, or cannot be written.
    """
    check_writable(args.out)
    frames = read_frame_list(args.frame_list) if args.frame_list else None
    result = evaluate_uavdt(
        args.gt_dir, args.detection_dir, args.sequences, args.iou, frames, report_progress
    )
    print(format_table(result, args.iou))
    write_json(args.out, result)
    print(f'written to {args.out}')


def report_progress(sequence: str) -> None:
    """Say what is being evaluated."""
    print(f'evaluating {sequence}', file=sys.stderr, flush=True)


def format_table(result: dict, iou_threshold: float) -> str:
    """The figures as text, AP with and without ignored regions side by side."""
    lines = [f'AP in percent at IoU {iou_threshold:g}    official  no ignored regions']
    rows = [('all', result)]
    for title in ('attributes', 'classes', 'sequences'):
        rows += [(f'{title}:', None), *((f'  {k}', v) for k, v in result[title].items())]
    width = len(lines[0]) - len('official  no ignored regions')
    for name, pair in rows:
        if pair is not None:
            lines.append(f'{name:<{width}}{pair["AP"]:>8.2f}{pair["AP_no_ignore"]:>20.2f}')
        elif result[name.rstrip(':')]:
            lines.append(name)
    lines.append(
        f'{len(result["sequences"])} sequences, {result["num_frames_with_gt"]} frames with ground '
        f'truth, {result["num_gt"]} boxes, {result["num_detections"]} detections, of which '
        f'{result["num_ignored"]} in ignored regions'
    )
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())

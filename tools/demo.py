"""The whole story without a GPU, in at most ten minutes on two cores.

Draws scenes, pretrains a tiny ViT by FLSL and by DINO, compares their frozen features with those
of random weights (k-NN, DAVIS, k-means), fine-tunes Mask R-CNN, and writes a report. Every step is
a command that you could type; an interrupted demo goes on where it stopped.

Example:
    python tools/demo.py --work-dir work_dirs/demo
"""

__tool__ = True

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flsl_mm.apis.command_line import positive, run_command, start_tool, tool_parser

ROOT = Path(__file__).resolve().parents[1]
MAX_LANES = 4  # a process takes about a gigabyte


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/demo'), help='(%(default)s)'
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a run of a minute or two on a few images, in <work dir>/quick, to see whether '
        'everything works; its numbers mean nothing',
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    parser.add_argument(
        '--lanes',
        type=positive,
        metavar='N',
        default=min(cores or 1, MAX_LANES),
        help='processes at a time, each on one core (%(default)s)',
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args)

from mmengine.logging import MMLogger

from flsl_mm.apis.steps import StepRunner
from flsl_mm.demo import Plan, Sizes, make_report
from flsl_mm.utils.counts import counted
from flsl_mm.utils.library_remarks import keep_library_remarks, take_library_remarks

QUICK = Sizes(
    seeds=1,
    images=48,
    val_images=12,
    videos=1,
    frames=3,
    epochs=1,
    finetune_images=16,
    finetune_epochs=1,
)


def demo(args: argparse.Namespace) -> None:
    """Run the steps and write the report.

    Raises:
        DataError: A step failed.
    """
    start = time.monotonic()
    work_dir = args.work_dir.resolve()
    plan = Plan(work_dir / 'quick', QUICK) if args.quick else Plan(work_dir, Sizes())
    steps = plan.steps()
    runner = StepRunner(args.lanes, ROOT, dict(OMP_NUM_THREADS='1'))
    minutes = counted(max(1, round(runner.time_left(steps) / 60)), 'minute')
    print(
        f'{len(steps)} steps, {args.lanes} at a time, about {minutes}; logs in {plan.logs}. '
        'Interrupted, the same command goes on from there'
    )
    runner.run(steps)
    print('writing the report', flush=True)
    MMLogger.get_instance('demo', log_level='WARNING')  # loading lists every weight
    keep_library_remarks()  # mmdet, which is imported now, prints what it does not find
    table = make_report(plan, steps, {step.name: step.read()['seconds'] for step in steps})
    take_library_remarks()
    print(table)
    print(f'{(time.monotonic() - start) / 60:.1f} minutes; the report: {plan.report}')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('demo.py', lambda: demo(args))


if __name__ == '__main__':
    sys.exit(main())

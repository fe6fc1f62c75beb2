r"""Train the networks of ablation tables, evaluate them by box-aligned k-NN, and print the tables.

A set is a folder of configs/ablations, or that folder itself for all of them. Beside our figures
("measured") stand those of the paper ("reported"). Networks that are finished are not trained again
and unfinished ones continue, so the same command can be repeated at any time.

Examples:
    python tools/analysis_tools/sweep.py configs/ablations/prototypes configs/ablations/window \
        --data-root data/imagenet --gpus 8
    python tools/analysis_tools/sweep.py configs/ablations --slurm PARTITION --gpus 8
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before torch is imported: see tools/train.py.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('GOMP_SPINCOUNT', '2000')


from flsl_mm.apis.ablation_table import AblationTable, all_configs, read_ablation_tables
from flsl_mm.apis.command_line import OptionsAction, positive, run_command
from flsl_mm.apis.frozen import add_device_argument, build_from_settings
from flsl_mm.apis.run_tool import train_command
from flsl_mm.apis.sweep_run import SweepRun
from flsl_mm.evaluation.tasks import FrozenTask
from flsl_mm.utils.errors import DataError
from flsl_mm.utils.files import check_writable, write_json

TOOLS = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    return run_command(parser.prog, lambda: sweep(args))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('sets', nargs='+', metavar='SET', help='folder of configs/ablations')
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        default='data/imagenet',
        help='ImageNet with its boxes, to train on and for k-NN (%(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        metavar='DIR',
        default=Path('work_dirs/ablations'),
        help='a folder for each network is made in it (%(default)s)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override entries of all configs',
    )
    parser.add_argument(
        '--knn-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the k-NN (BoxKNN), such as train_per_class=100',
    )
    parser.add_argument(
        '--gpus', type=positive, default=1, metavar='N', help='processes that train (%(default)s)'
    )
    parser.add_argument(
        '--slurm',
        metavar='PARTITION',
        help='train nothing: print a Slurm line for each network, and evaluate those finished',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='only print what would be run, and the tables'
    )
    add_device_argument(parser)
    parser.add_argument(
        '--out', metavar='FILE', help='JSON file for the tables (<work dir>/sweep.json)'
    )
    return parser


def sweep(args: argparse.Namespace) -> None:
    """Train, evaluate and print.

    Raises:
        DataError: Something is wrong with arguments or data, or a network could not be trained.
        FileNotFoundError: There are no data.
    """
    tables = [table for path in args.sets for table in read_ablation_tables(path)]
    options = {**args.cfg_options, 'train_dataloader.dataset.data_root': args.data_root}
    runs = [
        SweepRun(config, args.work_dir / config.stem, options) for config in all_configs(tables)
    ]
    waiting = [run for run in runs if not run.finished]
    print(f'{len(runs)} networks, {len(waiting)} of them to be trained', flush=True)
    if args.dry_run:
        print_commands(waiting, args)
        print_tables(tables, runs)
        return
    task = build_from_settings(dict(knn_settings(args), type='BoxKNN'))
    args.out = args.out or str(args.work_dir / 'sweep.json')
    check_writable(args.out)
    failures = []
    if args.slurm:
        for run in waiting:
            run.remember()  # what the jobs will train
        print_commands(waiting, args)
    else:
        failures = train_all(waiting, args, lambda run: evaluate(run, task, args))
    for run in runs:
        evaluate(run, task, args)
    print_tables(tables, runs)
    write_tables(tables, runs, args)
    if failures:
        raise DataError(f'{len(failures)} of {len(runs)} networks failed: {"; ".join(failures)}')


def print_commands(runs: Sequence[SweepRun], args: argparse.Namespace) -> None:
    """A line for each network, to be run by hand."""
    for run in runs:
        print(shlex.join(training_command(run, args)))


def training_command(run: SweepRun, args: argparse.Namespace) -> list[str]:
    """What trains a network, or continues to."""
    if args.slurm:
        head = ['env', f'GPUS={args.gpus}', str(TOOLS / 'slurm_train.sh'), args.slurm, run.name]
        return [*head, *run.arguments()]
    return train_command(TOOLS, run.arguments(), args.gpus)


def train_all(
    waiting: Sequence[SweepRun],
    args: argparse.Namespace,
    finished: Callable[[SweepRun], None],
) -> list[str]:
    """Train one network after the other, the others too when one fails; what failed.

    Args:
        waiting: What is to be trained.
        args: The command line.
        finished: Called with each network that was trained.
    """
    failures, start = [], time.monotonic()
    for number, run in enumerate(waiting, 1):
        try:
            run.train(training_command(run, args), f'[{number}/{len(waiting)}] {run.name}')
            finished(run)
        except DataError as error:
            failures.append(str(error))
            print(error, file=sys.stderr, flush=True)
        seconds = time.monotonic() - start
        left = seconds / number * (len(waiting) - number)
        print(
            f'[{number}/{len(waiting)}] {run.name} done after {seconds / 60:.1f} min, about '
            f'{left / 60:.1f} min left',
            flush=True,
        )
    return failures


def evaluate(run: SweepRun, task: FrozenTask, args: argparse.Namespace) -> None:
    """Evaluate a finished network unless it has been under these settings."""
    if run.finished:
        run.evaluate(task, knn_settings(args), args.device)


def knn_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Settings of the k-NN."""
    return {'data_root': args.data_root, **args.knn_options}


def print_tables(tables: Sequence[AblationTable], runs: Sequence[SweepRun]) -> None:
    """Every table: what was reported, what was measured, and the level of chance."""
    rows = dict(
        measured={run.config: run.measured for run in runs if run.measured is not None},
        chance={run.config: run.chance for run in runs if run.chance is not None},
    )
    for table in tables:
        print(f'\n{table.format(rows)}')
    print(
        '\nbox-aligned k-NN, top-1 in percent. reported: ViT-S/16, 100 epochs of ImageNet (paper); '
        'measured: with the settings of this command; chance: with shuffled labels',
    )


def write_tables(
    tables: Sequence[AblationTable], runs: Sequence[SweepRun], args: argparse.Namespace
) -> None:
    """The tables with all numbers of the k-NN as JSON."""
    by_config = {run.config: run for run in runs}

    def content(cell) -> dict[str, Any]:
        run = by_config[cell.config]
        found = dict(label=cell.label, config=str(cell.config), reported=cell.reported)
        return dict(found, measured=run.measured, **run.state)

    settings = dict(vars(args), device=str(args.device), work_dir=str(args.work_dir))
    result = {
        table.name: dict(title=table.title, cells=[content(cell) for cell in table.cells])
        for table in tables
    }
    write_json(args.out, dict(settings=settings, tables=result))
    print(f'written to {args.out}')


if __name__ == '__main__':
    sys.exit(main())

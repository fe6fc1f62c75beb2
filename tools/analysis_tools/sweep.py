r"""Train the networks of ablation tables, evaluate them frozen, print the tables, write a report.

A set is a folder of configs/ablations, or that folder itself for all of them; configs/photographs
is a study of another kind. Beside our figures ("measured") stand those of the paper ("reported").
Networks that are finished are not trained again and unfinished ones continue, so the same command
can be repeated at any time.

Examples:
    python tools/analysis_tools/sweep.py configs/ablations/prototypes configs/ablations/window \
        --data-root data/imagenet --gpus 8
    python tools/analysis_tools/sweep.py configs/ablations --slurm PARTITION --gpus 8
    python tools/analysis_tools/sweep.py configs/photographs --data-root data/photographs/pretrain \
        --tasks configs/frozen/photographs.py --seeds 0 1 2 --work-dir work_dirs/photographs
"""

__tool__ = True

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flsl_mm.apis.command_line import (
    OptionsAction,
    add_device_argument,
    add_options_argument,
    positive,
    run_command,
    start_tool,
    tool_parser,
)

TOOLS = Path(__file__).resolve().parents[1]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('sets', nargs='+', metavar='SET', help='folder of configs/ablations')
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        default='data/imagenet',
        help='images to train on; without --tasks ImageNet with its boxes (%(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        metavar='DIR',
        default=Path('work_dirs/ablations'),
        help='a folder for each network is made in it (%(default)s)',
    )
    add_options_argument(parser, 'override entries of all configs')
    parser.add_argument(
        '--knn-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the k-NN (BoxKNN), such as train_per_class=100',
    )
    parser.add_argument(
        '--tasks',
        metavar='CONFIG',
        help='frozen tasks in place of the k-NN, such as configs/frozen/photographs.py',
    )
    parser.add_argument(
        '--task-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='TASK.KEY=VALUE',
        help='override settings of --tasks, such as davis.data_root=DIR',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        metavar='N',
        help="train every network with each of these seeds (its config's)",
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
        '--out',
        metavar='FILE',
        help='JSON file for the tables; the page is written beside it, with .html as its ending '
        '(<work dir>/sweep.json)',
    )
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        metavar='IMAGE',
        help='image files or folders, four of which the report shows as the networks see them '
        '(none)',
    )
    return parser


if __name__ == '__main__':
    start_tool(build_parser().parse_args)

import numpy as np

from flsl_mm.apis.ablation_table import AblationCell, AblationTable, read_ablation_tables
from flsl_mm.apis.frozen import build_task, read_tasks, run_tasks, usable_device
from flsl_mm.apis.steps import Step, StepRunner, training_step
from flsl_mm.apis.study import Run, Runs, correlations, measured, trainings
from flsl_mm.apis.study_report import write_study_report
from flsl_mm.evaluation.tasks.frozen_task import FrozenTask
from flsl_mm.models import build_vit
from flsl_mm.utils.counts import counted
from flsl_mm.utils.errors import ConfigError, DataError
from flsl_mm.utils.files import check_writable, write_json
from flsl_mm.utils.images import evenly_spaced
from flsl_mm.utils.tables import mean_and_spread, text_table
from flsl_mm.visualization.images import (
    find_image_files,
    long_image_note,
    read_pixels,
    resize_short_side,
)

SHOWN, SHORT_SIDE = 4, 240  # images of the report, and their short side in pixels


def sweep(args: argparse.Namespace) -> None:
    """Train, evaluate, print and write.

    Raises:
        ConfigError: An option does not fit.
        DataError: Something is wrong with arguments or data, or a network could not be trained.
        FileNotFoundError: There are no data.
    """
    args.device = usable_device(args.device)
    tables = [table for path in args.sets for table in read_ablation_tables(path)]
    settings = chosen_tasks(args)
    args.out = args.out or str(args.work_dir / 'sweep.json')
    if Path(args.out).suffix != '.json':
        raise ConfigError(f'--out must end in .json, got {args.out}')
    page = Path(args.out).with_suffix('.html')
    images = load_images(args.images)
    # Built once for all networks: to index ImageNet takes minutes.
    tasks: dict[str, FrozenTask] = {}
    runs = network_runs(tables, args, settings, tasks)
    trained = trainings(runs)
    waiting = [step for step in trained.values() if not step.is_done()]
    print(f'{counted(len(trained), "network")}, {len(waiting)} of them to be trained', flush=True)
    later = {step.mark for step in waiting if step.waits} if args.slurm else set()
    jobs = [step for step in waiting if step.mark not in later]
    if args.dry_run or args.slurm:
        for step in jobs:
            print(command_line(step, args))
        if later:
            print(f'{counted(len(later), "network")} more when those are trained: repeat this')
    if args.dry_run:
        print_tables(tables, runs, args)
        return
    for path in (args.out, page):
        check_writable(path)
    tasks.update({name: build_task(task) for name, task in settings.items()})
    if args.slurm:
        for step in jobs:
            step.begin()  # what they will train
    left_out = {step.mark for step in waiting} if args.slurm else set()
    pairs = [run for found in runs.values() for run in found if run.train.mark not in left_out]
    steps = {step.mark: step for run in pairs for step in (*run.trainings, run.frozen)}
    failed = None
    try:
        StepRunner(keep_going=True).run(list(steps.values()))
    except DataError as error:
        failed = error
    finally:
        print_tables(tables, runs, args)
        write_tables(tables, runs, args, settings)
    write_study_report(page, tables, runs, settings, images, args.device)
    print(f'report: {page}')
    if failed:
        raise failed


def load_images(sources: Sequence[str]) -> list[np.ndarray]:
    """The photographs of the report; none without sources.

    Raises:
        DataError: There are no such images, or one cannot be read.
    """
    if not sources:
        return []
    images = []
    for path in evenly_spaced(find_image_files(sources), SHOWN):
        images.append(resize_short_side(read_pixels(path), SHORT_SIDE))
        if note := long_image_note(path, images[-1], SHORT_SIDE):
            print(note)
    return images


def chosen_tasks(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The frozen tasks by name.

    Raises:
        ConfigError: An option is for the other kind of evaluation.
    """
    if args.tasks:
        if args.knn_options:
            raise ConfigError('--knn-options are of the k-NN; --tasks has --task-options')
        return read_tasks(args.tasks, args.task_options)
    if args.task_options:
        raise ConfigError('--task-options need --tasks; the k-NN has --knn-options')
    return dict(knn={'data_root': args.data_root, **args.knn_options, 'type': 'BoxKNN'})


def network_runs(
    tables: Sequence[AblationTable],
    args: argparse.Namespace,
    settings: Mapping[str, Any],
    tasks: Mapping[str, FrozenTask],
) -> dict[AblationCell, list[Run]]:
    """The runs of every cell, one for each seed.

    Args:
        tables: What is compared.
        args: Of the command line.
        settings: Of the tasks, by name.
        tasks: The tasks, once they are built.
    """
    # Of several cells with the same config there is one step, as a step belongs to one folder.
    cells = {cell: None for table in tables for cell in table.cells}
    options = {**args.cfg_options, 'train_dataloader.dataset.data_root': args.data_root}
    processes = 1 if args.slurm else args.gpus
    known: dict[Path, Step] = {}

    def evaluate(source: str, seed: int) -> dict[str, Any]:
        return run_tasks(tasks, {source: build_vit(source, seed=seed)}, args.device)[source]

    starts: dict[Path, Path] = {}
    for cell in cells:
        if cell.after and starts.setdefault(cell.config, cell.after) != cell.after:
            raise DataError(
                f'{cell.config} would start from {starts[cell.config]} and {cell.after}'
            )
    if starts and 'pretrained' in options:
        raise ConfigError('pretrained is what the table says (after): leave it out of the options')

    def training(config: Path, seed: int | None) -> list[Step]:
        """What has to be trained for a network, in order; the last is its own."""
        before = training(starts[config], seed) if config in starts else []
        more = {} if seed is None else {'randomness.seed': seed}
        if before:
            more['pretrained'] = str(before[-1].leaves)
        folder = args.work_dir / (config.stem + ('' if seed is None else f'_seed{seed}'))
        step = training_step(TOOLS, config, folder, {**options, **more}, processes)
        if before and not before[-1].is_done() and not step.is_done():
            step = replace(step, waits=(before[-1].mark,))
        if known.setdefault(folder, step).command != step.command:
            raise DataError(f'two networks would be trained in {folder}: rename a config')
        return [*before, known[folder]]

    def run(cell: AblationCell, seed: int | None) -> Run:
        *before, train = training(cell.config, seed)
        source = f'random:{train.leaves}' if cell.untrained else str(train.leaves)
        frozen = Step(
            'untrained' if cell.untrained else 'frozen',
            f'evaluate {cell.label} ({train.folder.name})',
            train.folder,
            work=lambda: evaluate(source, seed or 0),
            after=(train.name,),
            settings=dict(tasks=settings),
            files=(str(train.leaves),),
        )
        return Run(seed, source, train, frozen, tuple(before))

    return {cell: [run(cell, seed) for seed in args.seeds or [None]] for cell in cells}


def command_line(step: Step, args: argparse.Namespace) -> str:
    """What trains a network, to be run by hand."""
    if not args.slurm:
        return step.text
    head = ['env', f'GPUS={args.gpus}', str(TOOLS / 'slurm_train.sh'), args.slurm]
    return shlex.join([*head, step.folder.name, *step.command[2:]])


def print_tables(tables: Sequence[AblationTable], runs: Runs, args: argparse.Namespace) -> None:
    """Every table: of the k-NN what was reported, measured and is chance; of tasks all numbers."""
    for table in tables:
        rows: dict[str, dict[AblationCell, float | str]] = {}
        for cell in table.cells:
            found = measured(runs[cell])
            if not args.tasks and found:
                headline = next(iter(found))  # which comes first
                found = dict(measured=found[headline], chance=found['knn chance'])
            for name, values in found.items():
                rows.setdefault(name, {})[cell] = mean_and_spread(values)
        print(f'\n{table.format(rows)}')
    if args.tasks:
        print('\nmeasured with the settings of this command')
        return print_correlations(runs)
    print(
        '\nbox-aligned k-NN, top-1 in percent. reported: ViT-S/16, 100 epochs of ImageNet (paper); '
        'measured: with the settings of this command; chance: with shuffled labels',
    )


def print_correlations(runs: Runs) -> None:
    """Which signs of training go along with which numbers."""
    if lines := correlations(runs):
        print('\nrank correlation over the trained networks (their number), at the end of training')
        print(text_table(lines))


def write_tables(
    tables: Sequence[AblationTable],
    runs: Runs,
    args: argparse.Namespace,
    tasks: Mapping[str, Any],
) -> None:
    """The tables with all numbers as JSON."""

    def content(cell: AblationCell) -> dict[str, Any]:
        about = dict(label=cell.label, config=str(cell.config), reported=cell.reported)
        found = [
            dict(
                seed=run.seed,
                training=run.train.read(),
                signs={} if cell.untrained else run.signs(),
                numbers=run.numbers(),
            )
            for run in runs[cell]
            if run.numbers()
        ]
        return dict(about, untrained=cell.untrained, runs=found)

    settings = dict(vars(args), device=str(args.device), work_dir=str(args.work_dir))
    result = {
        table.name: dict(title=table.title, cells=[content(cell) for cell in table.cells])
        for table in tables
    }
    write_json(args.out, dict(settings=settings, tasks=tasks, tables=result))
    print(f'written to {args.out}')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    return run_command(parser.prog, lambda: sweep(args))


if __name__ == '__main__':
    sys.exit(main())

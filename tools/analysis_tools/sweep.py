r"""Train the networks of ablation tables, evaluate them by box-aligned k-NN, and print the tables.

A set is a folder of configs/ablations, or that folder itself for all of them. Beside our figures
("measured") stand those of the paper ("reported"). Networks that are finished are not trained again
and unfinished ones continue, so the same command can be repeated at any time.

Examples:
    python tools/analysis_tools/sweep.py configs/ablations/prototypes configs/ablations/window \
        --data-root data/imagenet --gpus 8
    python tools/analysis_tools/sweep.py configs/ablations --slurm PARTITION --gpus 8
"""

__tool__ = True

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
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
        help='ImageNet with its boxes, to train on and for k-NN (%(default)s)',
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


if __name__ == '__main__':
    start_tool(build_parser().parse_args)

from flsl_mm.apis.ablation_table import AblationTable, all_configs, read_ablation_tables
from flsl_mm.apis.frozen import build_task, usable_device
from flsl_mm.apis.steps import Step, StepRunner, training_step
from flsl_mm.models import build_vit
from flsl_mm.utils.files import check_writable, write_json


def sweep(args: argparse.Namespace) -> None:
    """Train, evaluate and print.

    Raises:
        DataError: Something is wrong with arguments or data, or a network could not be trained.
        FileNotFoundError: There are no data.
    """
    args.device = usable_device(args.device)
    tables = [table for path in args.sets for table in read_ablation_tables(path)]
    options = {**args.cfg_options, 'train_dataloader.dataset.data_root': args.data_root}
    knn = {'data_root': args.data_root, **args.knn_options, 'type': 'BoxKNN'}
    task = []  # once for all networks: to index ImageNet takes minutes

    def evaluate(checkpoint: Path) -> dict[str, Any]:
        numbers = dict(task[0](build_vit(str(checkpoint), key='teacher').to(args.device)))
        return dict(measured=numbers[task[0].headline], knn=numbers)

    def network_steps(config: Path) -> tuple[Step, Step]:
        processes = 1 if args.slurm else args.gpus
        train = training_step(TOOLS, config, args.work_dir / config.stem, options, processes)
        return train, Step(
            'knn',
            f'k-NN of {config.stem}',
            train.folder,
            work=lambda: evaluate(train.leaves),
            after=(train.name,),
            settings=dict(knn_settings=knn),
            files=(str(train.leaves),),
        )

    networks = {config: network_steps(config) for config in all_configs(tables)}
    waiting = [train for train, _ in networks.values() if not train.is_done()]
    print(f'{len(networks)} networks, {len(waiting)} of them to be trained', flush=True)
    if args.dry_run or args.slurm:
        for step in waiting:
            print(command_line(step, args))
    if args.dry_run:
        print_tables(tables, networks)
        return
    task.append(build_task(knn))
    args.out = args.out or str(args.work_dir / 'sweep.json')
    check_writable(args.out)
    if args.slurm:
        for step in waiting:
            step.begin()  # what the jobs will train
    left_out = waiting if args.slurm else []
    steps = [step for pair in networks.values() if pair[0] not in left_out for step in pair]
    try:
        StepRunner(keep_going=True).run(steps)
    finally:
        print_tables(tables, networks)
        write_tables(tables, networks, args)


def command_line(step: Step, args: argparse.Namespace) -> str:
    """What trains a network, to be run by hand."""
    if not args.slurm:
        return step.text
    head = ['env', f'GPUS={args.gpus}', str(TOOLS / 'slurm_train.sh'), args.slurm]
    return shlex.join([*head, step.folder.name, *step.command[2:]])


def found(knn: Step) -> dict[str, Any]:
    """The numbers of a network that has been evaluated under these settings."""
    return knn.read()['result'] if knn.is_done() else {}


def print_tables(
    tables: Sequence[AblationTable], networks: Mapping[Path, tuple[Step, Step]]
) -> None:
    """Every table: what was reported, what was measured, and the level of chance."""
    numbers = {config: found(knn) for config, (_, knn) in networks.items()}
    rows = dict(
        measured={config: n['measured'] for config, n in numbers.items() if n},
        chance={config: n['knn']['chance'] for config, n in numbers.items() if n},
    )
    for table in tables:
        print(f'\n{table.format(rows)}')
    print(
        '\nbox-aligned k-NN, top-1 in percent. reported: ViT-S/16, 100 epochs of ImageNet (paper); '
        'measured: with the settings of this command; chance: with shuffled labels',
    )


def write_tables(
    tables: Sequence[AblationTable],
    networks: Mapping[Path, tuple[Step, Step]],
    args: argparse.Namespace,
) -> None:
    """The tables with all numbers of the k-NN as JSON."""

    def content(cell) -> dict[str, Any]:
        train, knn = networks[cell.config]
        about = dict(label=cell.label, config=str(cell.config), reported=cell.reported)
        return dict(about, training=train.read(), **(found(knn) or dict(measured=None)))

    settings = dict(vars(args), device=str(args.device), work_dir=str(args.work_dir))
    result = {
        table.name: dict(title=table.title, cells=[content(cell) for cell in table.cells])
        for table in tables
    }
    write_json(args.out, dict(settings=settings, tables=result))
    print(f'written to {args.out}')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    return run_command(parser.prog, lambda: sweep(args))


if __name__ == '__main__':
    sys.exit(main())

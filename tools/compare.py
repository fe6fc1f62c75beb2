r"""Compare pretrained networks in one table: on frozen tasks of a config, or fine-tuned on COCO.

The frozen tasks are those of eval_frozen.py: knn, davis and dense of configs/frozen/all.py. The
task coco is Mask R-CNN, fine-tuned and tested by train.py and test.py (--coco-config).

What is finished is not computed again, so the same command can be repeated at any time. Changed
checkpoints and settings are noticed, changed images are not: give another --work-dir then.

Example:
    python tools/compare.py configs/frozen/all.py FLSL=work_dirs/flsl_vits16_300e/epoch_300.pth \
        work_dirs/dino_vits16_300e/epoch_300.pth random:deit-small/16 \
        --tasks knn davis dense coco \
        --cfg-options knn.train_per_class=100 coco.train_cfg.max_epochs=1
"""

__tool__ = True

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flsl_mm.apis.command_line import (
    add_network_arguments,
    add_options_argument,
    log_details,
    named_sources,
    positive,
    run_command,
    start_tool,
    tool_parser,
)

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / 'configs'
# What the table shows, where a task has any of it; everything is in the JSON file.
COLUMNS = re.compile(
    r'top1_k\d+|chance|[JF&]+-Mean|(retrieval|clustering)/mIoU|discovery/CorLoc|collapse/RankMe|'
    r'(bbox|segm)_mAP|tokens|data'
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'config', metavar='CONFIG', help='frozen tasks, such as configs/frozen/all.py'
    )
    add_network_arguments(parser)
    parser.add_argument(
        '--tasks',
        nargs='+',
        metavar='NAME',
        help="some of the config's, and coco (all of the config's)",
    )
    parser.add_argument(
        '--max-images',
        type=positive,
        metavar='N',
        help='evaluate frozen tasks on at most N images, evenly spaced (all), k-NN with as many to '
        'learn from, one at least of each class; tasks without such a limit are named',
    )
    parser.add_argument(
        '--coco-config',
        metavar='FILE',
        type=Path,
        default=CONFIGS / 'coco/mask-rcnn_flsl-vits16_fpn_1x_coco.py',
        help='detector to fine-tune; its backbone must be of the design of the checkpoints '
        '(mask-rcnn_flsl-vits16_fpn_1x_coco.py)',
    )
    parser.add_argument(
        '--gpus',
        type=positive,
        default=1,
        metavar='N',
        help='processes that fine-tune (%(default)s)',
    )
    add_options_argument(
        parser,
        'override settings of a task, such as davis.short_side=240 or coco.train_cfg.max_epochs=1',
        'TASK.KEY=VALUE',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        metavar='DIR',
        default=Path('work_dirs/compare'),
        help='%(default)s',
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='JSON file for the numbers, added to those that it has (<work dir>/compare.json)',
    )
    return parser


if __name__ == '__main__':
    start_tool(lambda: build_parser().parse_args(), has_log=True)

from flsl_mm.apis.frozen import build_networks, build_task, check_folders, read_tasks, run_tasks
from flsl_mm.apis.steps import Step, StepRunner, option_arguments, training_step
from flsl_mm.evaluation import comparison_table
from flsl_mm.registry import FROZEN_TASKS
from flsl_mm.utils.counts import counted
from flsl_mm.utils.errors import ConfigError, DataError
from flsl_mm.utils.files import check_writable, file_stamp, read_json, write_json


def compare(args: argparse.Namespace) -> None:
    """Evaluate what has not been yet, and print one table, also after an error.

    Raises:
        CheckpointError: A checkpoint cannot be used.
        DataError: Data or settings cannot be used, or fine-tuning failed.
    """
    args.out = args.out or str(args.work_dir / 'compare.json')
    check_writable(args.out)
    log_details(Path(args.out).with_suffix('.log'))
    sources = named_sources(args.checkpoints)
    settings = task_settings(args)
    files = {network: [source, file_stamp(source)] for network, source in sources.items()}
    earlier = earlier_results(Path(args.out), files, settings)
    networks, tasks = {}, {}  # shared, in this process: to index ImageNet takes minutes

    def evaluate(name: str, network: str) -> dict[str, Any]:
        found = run_tasks({name: tasks[name]}, {network: networks[network]}, args.device)
        return found[network][name]

    def steps_of(name: str, network: str) -> list[Step]:
        source = sources[network]
        if name == 'coco':
            return detector_steps(source, settings[name]['task'], args)
        folder, work = folder_of('frozen', source, args), partial(evaluate, name, network)
        files, title = (source,), f'{name} of {network}'
        return [Step(name, title, folder, work=work, settings=settings[name], files=files)]

    steps = {network: {name: steps_of(name, network) for name in settings} for network in sources}
    flat = [step for by_task in steps.values() for parts in by_task.values() for step in parts]
    if any(step.work and not step.is_done() for step in flat):
        frozen = {name: found['task'] for name, found in settings.items() if name != 'coco'}
        check_folders(frozen)
        networks.update(build_networks(args, with_head=True))  # before the data
        tasks.update({name: build_task(task) for name, task in frozen.items()})
    try:
        StepRunner().run(flat)
    finally:
        results = {
            network: {
                name: numbers_of(parts[-1])
                for name, parts in by_task.items()
                if parts[-1].is_done()
            }
            for network, by_task in steps.items()
        }
        if any(results.values()):
            content = dict(settings=settings, checkpoints=files, results=results)
            write_json(args.out, together(earlier, content))
            print(comparison_table(shown(results)))
    others = sorted({task for found in earlier['results'].values() for task in found})
    beside = f', beside what it has of {", ".join(others)} by other commands' if others else ''
    print(f'written to {args.out}{beside}')


def earlier_results(
    path: Path, files: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """What the file of numbers has by other commands and stays there.

    That is every number that this command does not compute itself, unless it is of another
    checkpoint of the same name, or its task had other settings; those are named.

    Args:
        path: The file; there may be none.
        files: The checkpoints of this command and their stamps, by name.
        settings: Of the tasks of this command, by name.

    Returns:
        dict: ``settings``, ``checkpoints`` and ``results``, as in the file.

    Raises:
        DataError: The file is damaged, or another one.
    """
    found = read_json(path) if path.is_file() else {}
    parts = {name: found.get(name) or {} for name in ('settings', 'checkpoints', 'results')}
    if set(found) - set(parts) or not all(isinstance(part, dict) for part in parts.values()):
        raise DataError(f'{path}: holds something else than numbers of compare.py: give --out')
    kept: dict[str, dict[str, Any]] = {name: {} for name in parts}
    present = json.loads(json.dumps(settings))  # as they stand in a file
    for network, by_task in parts['results'].items():
        old = parts['checkpoints'].get(network)
        for task, numbers in by_task.items():
            if network in files and task in settings:
                continue
            same_file = files.get(network, old) == old
            if same_file and present.get(task) in (None, parts['settings'].get(task)):
                kept['results'].setdefault(network, {})[task] = numbers
                kept['settings'][task] = parts['settings'].get(task)
                kept['checkpoints'][network] = old
            else:
                why = 'its settings changed' if same_file else 'the checkpoint changed'
                print(f'{path}: {task} of {network} is left out, for {why}')
    return kept


def together(
    earlier: Mapping[str, Mapping[str, Any]], present: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Two contents of the file of numbers in one."""
    merged = {name: {**earlier[name], **part} for name, part in present.items()}
    for network, found in earlier['results'].items():
        merged['results'][network] = {**found, **present['results'].get(network, {})}
    return merged


def task_settings(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What config and command line say about each task.

    Raises:
        ConfigError: An option fits no task, or a task does not exist.
        FileNotFoundError: There is no such config.
    """
    coco = {k[5:]: value for k, value in args.cfg_options.items() if k.startswith('coco.')}
    options = {k: value for k, value in args.cfg_options.items() if not k.startswith('coco.')}
    network = dict(key=args.key, num_heads=args.num_heads, seed=args.seed)
    tasks = read_tasks(args.config, options)
    for name in args.max_images and set(args.tasks or tasks) & set(tasks) or ():
        limit_images(name, tasks[name], args.max_images)
    found = {name: dict(task=task, **network) for name, task in tasks.items()}
    # The detector's config has the architecture and the seed.
    found['coco'] = dict(task=coco, config=str(args.coco_config), key=args.key)
    if strange := set(args.tasks or ()) - set(found):
        raise ConfigError(f'--tasks are some of {", ".join(found)}, not {min(strange)}')
    return {name: found[name] for name in args.tasks or tasks}


def limit_images(name: str, task: dict[str, Any], number: int) -> None:
    """Let a frozen task evaluate at most ``number`` images, in place; say so if it cannot."""
    limits = getattr(FROZEN_TASKS.get(task['type']), 'image_limits', ())
    if not limits:
        print(f'{name}: has no limit of images (--max-images), takes all')
    for limit in limits:
        part, (*parents, last) = task, limit.split('.')
        for key in parents:
            part[key] = dict(part.get(key) or {})
            part = part[key]
        part[last] = min(number, part.get(last) or number)


def folder_of(kind: str, checkpoint: str, args: argparse.Namespace) -> Path:
    """Where the steps of a checkpoint are remembered."""
    return args.work_dir / kind / re.sub(r'[^\w.=-]+', '-', checkpoint).strip('-')


def detector_steps(
    checkpoint: str, options: Mapping[str, Any], args: argparse.Namespace
) -> list[Step]:
    """Training and test of the detector that starts from a checkpoint.

    Raises:
        DataError: An option does not fit its config.
    """
    options = dict(options, pretrained=checkpoint)
    if checkpoint.startswith('random:'):
        options['pretrained'] = None
    if args.key:
        options['model.backbone.init_cfg.key'] = args.key
    if args.trust:
        options['model.backbone.init_cfg.trust'] = True
    folder = folder_of('coco', checkpoint, args)
    train = training_step(TOOLS, args.coco_config, folder, options, args.gpus)
    out = folder / 'test_metrics.json'
    command = ['python', str(TOOLS / 'test.py'), str(args.coco_config), str(train.leaves)]
    test = Step(
        'test',
        f'coco, test of {checkpoint}',
        folder,
        (*command, f'--work-dir={folder}', f'--out={out}', *option_arguments(options)),
        after=(train.name,),
        settings=train.settings,
        files=(str(train.leaves),),
        leaves=out,
    )
    return [replace(train, title=f'coco, training from {checkpoint}'), test]


def numbers_of(step: Step) -> dict[str, Any]:
    """What a finished evaluation found, and of how many images; COCO's numbers in percent.

    A number that COCO gives as -1, where there was nothing to find, is None.
    """
    if step.work:
        return step.read()['result']
    content = read_json(step.leaves)
    metrics, images = content.get('metrics'), content.get('images')
    kinds = (int, float, type(None))
    if not isinstance(metrics, dict) or not all(isinstance(v, kinds) for v in metrics.values()):
        raise DataError(f'{step.leaves}: damaged, has no metrics; remove it to test again')
    numbers = {
        name.removeprefix('coco/'): None if value in (-1, None) else 100 * value
        for name, value in metrics.items()
    }
    return dict(numbers, data=counted(images, 'image')) if isinstance(images, int) else numbers


def shown(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The numbers that the table has, of what has been computed."""
    return {
        checkpoint: {
            task: {n: v for n, v in numbers.items() if COLUMNS.fullmatch(n)} or numbers
            for task, numbers in found.items()
        }
        for checkpoint, found in results.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    return run_command(parser.prog, lambda: compare(args))


if __name__ == '__main__':
    sys.exit(main())

r"""Compare pretrained networks on several tasks in one table: frozen, or fine-tuned on COCO.

    knn     box-aligned k-NN on ImageNet (--imagenet)
    davis   label propagation on DAVIS-2017 (--davis)
    frozen  retrieval, clusters, objects and signs of collapse on labelled images (--dense)
    coco    Mask R-CNN, fine-tuned and tested by train.py and test.py (--coco-config)

What is finished is not computed again, so the same command can be repeated at any time. Changed
checkpoints and settings are noticed, changed images are not: give another --work-dir then.

Example:
    python tools/compare.py --tasks knn davis frozen coco --checkpoints \
        work_dirs/flsl_vits16_300e/epoch_300.pth work_dirs/dino_vits16_300e/epoch_300.pth \
        random:deit-small/16 --cfg-options knn.train_per_class=100 coco.train_cfg.max_epochs=1
"""

__tool__ = True

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flsl_mm.apis.command_line import (
    OptionsAction,
    add_network_arguments,
    positive,
    run_command,
    start_tool,
)

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / 'configs'
TASKS = ('knn', 'davis', 'frozen', 'coco')
# Of each task, what the table shows; everything is in the JSON file.
COLUMNS = dict(
    knn=r'top1_k\d+|chance',
    davis=r'[JF&]+-Mean',
    frozen=r'(retrieval|clustering)/mIoU|discovery/CorLoc|collapse/RankMe',
    coco=r'(bbox|segm)_mAP',
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_network_arguments(parser, '--checkpoints')
    parser.add_argument(
        '--tasks', nargs='+', choices=TASKS, default=TASKS[:3], help='(knn davis frozen)'
    )
    for name, default in (('imagenet', 'imagenet'), ('davis', 'DAVIS')):
        parser.add_argument(
            f'--{name}', metavar='DIR', default=f'data/{default}', help='data (%(default)s)'
        )
    parser.add_argument(
        '--dense',
        metavar='DIR_OR_CONFIG',
        default='data/coco',
        help='data, as for eval_frozen.py --data; of ADE20K configs/frozen/ade20k.py (%(default)s)',
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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='TASK.KEY=VALUE',
        help='override settings of a task, such as davis.short_side=240 or '
        'coco.train_cfg.max_epochs=1',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        metavar='DIR',
        default=Path('work_dirs/compare'),
        help='%(default)s',
    )
    parser.add_argument(
        '--out', metavar='FILE', help='JSON file for the numbers (<work dir>/compare.json)'
    )
    return parser


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    unknown = {name.split('.')[0] for name in args.cfg_options} - set(TASKS)
    if unknown:
        parser.error(f'--cfg-options start with a task ({", ".join(TASKS)}), not {unknown.pop()!r}')
    return args


if __name__ == '__main__':
    start_tool(parse_args)

from flsl_mm.apis.frozen import (
    build_from_settings,
    build_networks,
    read_labeled_images,
    run_tasks,
)
from flsl_mm.apis.steps import Step, StepRunner, option_arguments, training_step
from flsl_mm.evaluation import comparison_table
from flsl_mm.utils.errors import DataError
from flsl_mm.utils.files import check_writable, read_json, write_json


def compare(args: argparse.Namespace) -> None:
    """Evaluate what has not been yet, and print one table, also after an error.

    Raises:
        CheckpointError: A checkpoint cannot be used.
        DataError: Data or settings cannot be used, or fine-tuning failed.
    """
    args.out = args.out or str(args.work_dir / 'compare.json')
    args.checkpoints = list(dict.fromkeys(args.checkpoints))
    settings = {name: task_settings(name, args) for name in args.tasks}
    networks, tasks = {}, {}  # shared, in this process: to index ImageNet takes minutes

    def evaluate(name: str, checkpoint: str) -> dict[str, Any]:
        found = run_tasks([tasks[name]], {checkpoint: networks[checkpoint]}, args.device)
        [numbers] = found[checkpoint].values()
        return numbers

    def steps_of(name: str, checkpoint: str) -> list[Step]:
        if name == 'coco':
            return detector_steps(checkpoint, settings[name]['task'], args)
        folder, work = folder_of('frozen', checkpoint, args), partial(evaluate, name, checkpoint)
        files, title = (checkpoint,), f'{name} of {checkpoint}'
        return [Step(name, title, folder, work=work, settings=settings[name], files=files)]

    steps = {c: {name: steps_of(name, c) for name in args.tasks} for c in args.checkpoints}
    flat = [step for by_task in steps.values() for parts in by_task.values() for step in parts]
    if any(step.work and not step.is_done() for step in flat):
        networks.update(build_networks(args))  # before the data
        frozen = [name for name in args.tasks if name != 'coco']
        tasks.update({name: build_from_settings(settings[name]['task']) for name in frozen})
    check_writable(args.out)
    try:
        StepRunner().run(flat)
    finally:
        results = {
            checkpoint: {
                name: numbers_of(parts[-1])
                for name, parts in by_task.items()
                if parts[-1].is_done()
            }
            for checkpoint, by_task in steps.items()
        }
        if any(results.values()):
            write_json(args.out, dict(settings=settings, results=results))
            print(comparison_table(shown(results)))
    print(f'written to {args.out}')


def task_settings(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says about a task.

    Raises:
        DataError: What it names for the data cannot be used.
        FileNotFoundError: It is not there.
    """
    task = dict(
        knn=dict(type='BoxKNN', data_root=args.imagenet),
        davis=dict(type='DavisPropagation', data_root=args.davis),
        frozen=dict(type='DenseSuite'),
        coco={},
    )[name]
    if name == 'frozen':
        task['train'], task['val'] = read_labeled_images(args.dense)
    for key, value in args.cfg_options.items():
        if key.startswith(f'{name}.'):
            task[key.partition('.')[2]] = value
    if name == 'coco':  # whose config has the architecture and the seed
        return dict(task=task, config=str(args.coco_config), key=args.key)
    return dict(task=task, key=args.key, num_heads=args.num_heads, seed=args.seed)


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


def numbers_of(step: Step) -> dict[str, float | None]:
    """What a finished evaluation found; COCO's numbers in percent.

    A number that COCO gives as -1, where there was nothing to find, is None.
    """
    if step.work:
        return step.read()['result']
    metrics = read_json(step.leaves).get('metrics')
    kinds = (int, float, type(None))
    if not isinstance(metrics, dict) or not all(isinstance(v, kinds) for v in metrics.values()):
        raise DataError(f'{step.leaves}: damaged, has no metrics; remove it to test again')
    return {
        name.removeprefix('coco/'): None if value in (-1, None) else 100 * value
        for name, value in metrics.items()
    }


def shown(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The numbers that the table has, of what has been computed."""
    return {
        checkpoint: {
            task: {n: v for n, v in numbers.items() if re.fullmatch(COLUMNS[task], n)}
            for task, numbers in found.items()
        }
        for checkpoint, found in results.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('compare.py', lambda: compare(args))


if __name__ == '__main__':
    sys.exit(main())

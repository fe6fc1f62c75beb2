r"""Compare pretrained networks on several tasks in one table: frozen, or fine-tuned on COCO.

    knn     box-aligned k-NN on ImageNet (--imagenet)
    davis   label propagation on DAVIS-2017 (--davis)
    frozen  retrieval, clusters, objects and signs of collapse on labelled images (--dense)
    coco    Mask R-CNN, fine-tuned and tested by train.py and test.py (--coco-config)

What is finished is not computed again, so the same command can be repeated at any time. Changed
checkpoints and settings are noticed, changed images are not: give another --out then.

Example:
    python tools/compare.py --tasks knn davis frozen coco --checkpoints \
        work_dirs/flsl_vits16_300e/epoch_300.pth work_dirs/dino_vits16_300e/epoch_300.pth \
        random:deit-small/16 --cfg-options knn.train_per_class=100 coco.train_cfg.max_epochs=1
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Before torch is imported: see tools/train.py.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

from mmengine.config import Config

from flsl_mm.apis.command_line import OptionsAction, positive, run_command
from flsl_mm.apis.frozen import (
    add_network_arguments,
    build_from_settings,
    build_networks,
    read_labeled_images,
    run_tasks,
)
from flsl_mm.apis.run_tool import run_tool, train_command
from flsl_mm.apis.training_run import TrainingRun, as_json, config_digest
from flsl_mm.evaluation import comparison_table
from flsl_mm.evaluation.tasks import FrozenTask
from flsl_mm.utils.errors import DataError
from flsl_mm.utils.files import check_writable, file_stamp, write_json

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

Results = dict[str, dict[str, Mapping[str, Any]]]
"""Numbers by checkpoint and task."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    unknown = {name.split('.')[0] for name in args.cfg_options} - set(TASKS)
    if unknown:
        parser.error(f'--cfg-options start with a task ({", ".join(TASKS)}), not {unknown.pop()!r}')
    return run_command(parser.prog, lambda: compare(args))


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


def compare(args: argparse.Namespace) -> None:
    """Evaluate what has not been yet, and print one table, also after an error.

    Raises:
        CheckpointError: A checkpoint cannot be used.
        DataError: Data or settings cannot be used, or fine-tuning failed.
    """
    args.out = args.out or str(args.work_dir / 'compare.json')
    networks = build_networks(args)  # before the data: to index ImageNet takes minutes
    settings = {name: task_settings(name, args) for name in args.tasks}
    tasks = {name: build_task(settings[name]) for name in args.tasks if name != 'coco'}
    detectors = {}
    if 'coco' in settings:
        detectors = {c: detector_run(c, settings['coco'], args) for c in args.checkpoints}
        check_folders(detectors)
    check_writable(args.out)
    results = read_results(args.out, settings, list(networks))
    try:
        for checkpoint, vit in networks.items():
            for name in args.tasks:
                if name in results[checkpoint]:
                    continue
                if name == 'coco':
                    numbers = fine_tune(checkpoint, detectors[checkpoint], args.gpus)
                else:
                    [found] = run_tasks([tasks[name]], {checkpoint: vit}, args.device).values()
                    [numbers] = found.values()
                results[checkpoint][name] = numbers
                write_results(args.out, results, settings)
    finally:
        if any(results.values()):
            print(comparison_table(shown(results)))
    print(f'written to {args.out}')


def task_settings(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says about a task.

    Raises:
        DataError: What it names for the data cannot be used.
        FileNotFoundError: It is not there.
    """
    data = dict(
        knn=dict(type='BoxKNN', data_root=args.imagenet),
        davis=dict(type='DavisPropagation', data_root=args.davis),
        frozen=dict(type='DenseSuite'),
        coco=dict(config=str(args.coco_config)),
    )[name]
    if name == 'frozen':
        data['train'], data['val'] = read_labeled_images(args.dense)
    elif name == 'coco':
        data['config_digest'] = config_digest(Config.fromfile(args.coco_config))
    prefix = f'{name}.'
    options = {
        key.removeprefix(prefix): value
        for key, value in args.cfg_options.items()
        if key.startswith(prefix)
    }
    network = dict(key=args.key)
    if name != 'coco':  # whose config has the architecture and the seed
        network.update(num_heads=args.num_heads, seed=args.seed)
    return dict(data, options=options, network=network)


def build_task(settings: Mapping[str, Any]) -> FrozenTask:
    """A frozen task.

    Raises:
        DataError: A setting does not exist or is out of range.
        FileNotFoundError: Data are missing.
    """
    config = {k: v for k, v in settings.items() if k not in ('options', 'network')}
    return build_from_settings(dict(config, **settings['options']))


def detector_run(
    checkpoint: str, settings: Mapping[str, Any], args: argparse.Namespace
) -> TrainingRun:
    """The detector that starts from a checkpoint.

    Raises:
        DataError: Its folder holds another one, or an option does not fit its config.
    """
    options = dict(settings['options'], pretrained=checkpoint)
    if checkpoint.startswith('random:'):
        options['pretrained'] = None
    if args.key:
        options['model.backbone.init_cfg.key'] = args.key
    if args.trust:
        options['model.backbone.init_cfg.trust'] = True
    folder = args.work_dir / 'coco' / re.sub(r'[^\w.=-]+', '-', checkpoint).strip('-')
    return TrainingRun(Path(settings['config']), folder, options)


def check_folders(detectors: Mapping[str, TrainingRun]) -> None:
    """Refuse checkpoints that would share a folder.

    Raises:
        DataError: Two do.
    """
    owners: dict[Path, str] = {}
    for checkpoint, run in detectors.items():
        other = owners.setdefault(run.work_dir, checkpoint)
        if other != checkpoint:
            raise DataError(
                f'the detectors of {other} and {checkpoint} would share {run.work_dir}: rename one'
            )


def fine_tune(checkpoint: str, run: TrainingRun, gpus: int) -> dict[str, float | None]:
    """Train a detector from a checkpoint and test it; COCO's numbers in percent.

    A number that COCO gives as -1, where there was nothing to find, is None.

    Raises:
        DataError: A tool failed.
    """
    if not run.finished:
        run.train(train_command(TOOLS, run.arguments(), gpus), f'coco, {checkpoint}')
    out = run.work_dir / 'test_metrics.json'
    command = [sys.executable, str(TOOLS / 'test.py'), str(run.config), str(run.checkpoint)]
    command += [f'--work-dir={run.work_dir}', f'--out={out}', *run.option_arguments()]
    run_tool(command, run.work_dir / 'test_output.log', f'coco, test of {checkpoint}')
    metrics = json.loads(out.read_text())['metrics']
    return {
        name.removeprefix('coco/'): None if value == -1 else 100 * value
        for name, value in metrics.items()
    }


def read_results(path: str, settings: Mapping[str, Any], checkpoints: Sequence[str]) -> Results:
    """Earlier results of the same checkpoints and settings; the others are left out."""
    found = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
    same = [n for n, s in settings.items() if found.get('settings', {}).get(n) == as_json(s)]
    results: Results = {}
    for checkpoint in checkpoints:
        earlier = found.get('results', {}).get(checkpoint, {})
        if found.get('files', {}).get(checkpoint) != file_stamp(checkpoint):
            earlier = {}
        results[checkpoint] = {name: earlier[name] for name in same if name in earlier}
    return results


def write_results(path: str, results: Results, settings: Mapping[str, Any]) -> None:
    """Write the JSON file."""
    files = {checkpoint: file_stamp(checkpoint) for checkpoint in results}
    write_json(path, dict(settings=settings, files=files, results=results))


def shown(results: Results) -> Results:
    """The numbers that the table has, of what has been computed."""
    return {
        checkpoint: {
            task: {n: v for n, v in numbers.items() if re.fullmatch(COLUMNS[task], n)}
            for task, numbers in found.items()
        }
        for checkpoint, found in results.items()
    }


if __name__ == '__main__':
    sys.exit(main())

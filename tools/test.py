r"""Evaluate a trained model on a benchmark: detection, instance or semantic segmentation.

Example:
    python tools/test.py configs/coco/mask-rcnn_flsl-vits16_fpn_1x_coco.py \
        work_dirs/mask-rcnn_flsl-vits16_fpn_1x_coco/epoch_12.pth --show-dir pictures
"""

__tool__ = True

import argparse
import os.path as osp
import sys

from flsl_mm.apis.command_line import (
    add_run_arguments,
    build_runner,
    end_processes,
    positive,
    read_config,
    run_command,
    start_tool,
    tool_parser,
)
from flsl_mm.evaluation import metrics_table
from flsl_mm.utils.errors import ConfigError
from flsl_mm.utils.files import check_writable, write_json


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file the model was trained with')
    parser.add_argument('checkpoint', help='checkpoint of training; it must fit the model exactly')
    add_run_arguments(parser)
    parser.add_argument(
        '--out', metavar='FILE', help='JSON file for the numbers (<work dir>/test_metrics.json)'
    )
    parser.add_argument(
        '--show-dir', metavar='DIR', help='save pictures there: annotations beside predictions'
    )
    parser.add_argument(
        '--worst',
        type=positive,
        metavar='N',
        help='of the pictures only those of the N worst images, in order, and worst.json',
    )
    args = parser.parse_args()
    if args.worst and not args.show_dir:
        parser.error('--worst needs --show-dir')
    return args


if __name__ == '__main__':
    start_tool(parse_args, has_log=True)

from mmengine.config import Config
from mmengine.dist import is_main_process

from flsl_mm.apis.trained import use_trained_settings
from flsl_mm.checkpoint import load_model
from flsl_mm.checkpoint.files import check_file


def add_test_settings(cfg: Config, args: argparse.Namespace) -> Config:
    """The config with the settings that only testing has.

    Raises:
        DataError: It cannot draw.
    """
    cfg.load_from, cfg.resume = None, False  # the checkpoint is loaded strictly, below
    if args.show_dir:
        save_pictures(cfg, osp.abspath(args.show_dir), args.worst)
    return cfg


def save_pictures(cfg: Config, folder: str, worst: int | None) -> None:
    """Let a hook draw pictures into a folder, in place.

    Raises:
        ConfigError: The config has nothing to draw with.
    """
    if not (cfg.get('visualizer') or {}).get('type', '').endswith('LocalVisualizer'):
        raise ConfigError("--show-dir: the config has no visualizer of mmdet's or mmseg's to draw")
    hook = dict(type='mmpretrain.PicturesHook', folder=folder, worst=worst)
    usual = cfg.default_hooks.get('visualization') or {}
    if 'score_thr' in usual:
        hook['score_thr'] = usual['score_thr']
    cfg.default_hooks['visualization'] = hook


def run_test(args: argparse.Namespace) -> None:
    """Build, load and test; print and write the metrics.

    Raises:
        CheckpointError: The checkpoint cannot be read or does not fit.
        DataError: The config cannot be tested.
        FileNotFoundError: There is no config.
    """
    use_trained_settings(args)
    cfg = add_test_settings(read_config(args), args)
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f'{args.config} has no test_dataloader, so there is nothing to test')
    check_file(args.checkpoint)  # before what takes time
    runner = build_runner(cfg)
    load_model(runner.model, args.checkpoint, args.trust)
    path = args.out or osp.join(runner.work_dir, 'test_metrics.json')
    if is_main_process():
        check_writable(path)
    metrics = {name: float(value) for name, value in runner.test().items()}
    if is_main_process():
        images = len(runner.test_dataloader.dataset)
        content = dict(
            config=args.config, checkpoint=args.checkpoint, images=images, metrics=metrics
        )
        print(metrics_table(metrics))
        write_json(path, content)
        print(f'written to {path}')
    end_processes(args)


def main() -> int:
    """Evaluate; returns the exit code."""
    args = parse_args()
    return run_command('test.py', lambda: run_test(args))


if __name__ == '__main__':
    sys.exit(main())

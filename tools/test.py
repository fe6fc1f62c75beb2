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
    parser.add_argument('--show-dir', metavar='DIR', help='save pictures of the predictions there')
    return parser.parse_args()


if __name__ == '__main__':
    start_tool(parse_args, has_log=True)

from mmengine.config import Config
from mmengine.dist import is_main_process

from flsl_mm.checkpoint import load_model
from flsl_mm.checkpoint.files import check_file


def add_test_settings(cfg: Config, args: argparse.Namespace) -> Config:
    """The config with the settings that only testing has.

    Raises:
        DataError: It cannot draw.
    """
    cfg.load_from, cfg.resume = None, False  # the checkpoint is loaded strictly, below
    if args.show_dir:
        save_pictures(cfg, osp.abspath(args.show_dir))
    return cfg


def save_pictures(cfg: Config, folder: str) -> None:
    """Let the config's visualization hook write pictures into a folder, in place.

    Raises:
        DataError: There is none.
    """
    hook = cfg.default_hooks.get('visualization')
    if hook is None:
        raise ConfigError('--show-dir: the config has no default_hooks.visualization')
    hook['draw'] = True
    if hook['type'].endswith('DetVisualizationHook'):
        hook['test_out_dir'] = folder
    else:  # mmseg's takes the folder of the visualizer; upstream's leaves images out
        hook['interval'] = 1
        cfg.visualizer['save_dir'] = folder


def run_test(args: argparse.Namespace) -> None:
    """Build, load and test; print and write the metrics.

    Raises:
        CheckpointError: The checkpoint cannot be read or does not fit.
        DataError: The config cannot be tested.
        FileNotFoundError: There is no config.
    """
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
        content = dict(config=args.config, checkpoint=args.checkpoint, metrics=metrics)
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

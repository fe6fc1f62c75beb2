r"""Train from a config: pretraining, and every benchmark that is fine-tuned.

Example:
    python tools/train.py configs/pretrain/flsl_vits16_300e.py \
        --cfg-options train_dataloader.dataset.data_root=/my/images
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
from flsl_mm.utils.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file')
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint; without a path from the latest in the work dir, if any',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    args = parser.parse_args()
    if args.resume not in (None, 'auto') and not osp.isfile(args.resume):
        parser.error(f'--resume: there is no checkpoint {args.resume}')
    return args


if __name__ == '__main__':
    start_tool(parse_args, has_log=True)

from mmengine.config import Config


def add_training_settings(cfg: Config, args: argparse.Namespace) -> Config:
    """The config with the settings that only training has.

    Raises:
        DataError: ``--amp`` does not work here.
    """
    if args.resume == 'auto' and cfg.get('runner_type') == 'FLSLRunner':
        cfg.resume = 'auto'
    elif args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.trust:
        cfg.trust = True
    if args.amp:
        use_mixed_precision(cfg.optim_wrapper)
    return cfg


def use_mixed_precision(optim_wrapper: dict) -> None:
    """Switch an optimizer wrapper's config to mixed precision, in place.

    Raises:
        DataError: It needs a GPU, and there is none.
    """
    import torch

    from flsl_mm.engine.optimizers.flsl_optim_wrapper import has_bfloat16

    if optim_wrapper.get('type') == 'FLSLOptimWrapper':
        if optim_wrapper.get('precision', 'auto') in ('auto', 'float32'):
            optim_wrapper['precision'] = 'auto' if torch.cuda.is_available() else 'bfloat16'
    elif not torch.cuda.is_available():
        raise ConfigError('--amp needs a GPU in fine-tuning: leave it out on a CPU')
    else:
        optim_wrapper['type'] = 'AmpOptimWrapper'
        if has_bfloat16():  # else float16
            optim_wrapper.setdefault('dtype', 'bfloat16')
        optim_wrapper.setdefault('loss_scale', 'dynamic')


def main() -> int:
    """Train; returns the exit code."""
    args = parse_args()

    def command() -> None:
        build_runner(add_training_settings(read_config(args), args)).train()
        end_processes(args)

    return run_command('train.py', command)


if __name__ == '__main__':
    sys.exit(main())

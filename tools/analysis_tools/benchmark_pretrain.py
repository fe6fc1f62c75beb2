r"""Speed and memory of a pretraining step, against its plain twin and against DINO.

The step is all that the config's runner does between two batches: views are made of crops in 8
bits that come from the host, then forward, backward, clipping, optimizer, teacher, schedules and
log. The crops are random and always the same; how fast real ones come, `benchmark_dataloader.py`
measures. The plain twin (`plain_step.py`) has the same losses and updates without a runner, with
every attention matrix in memory and a loop over the parameters. DINO has the same network and
views, and its own head. `whole` is the config's step without `model.student_keep` and
`model.backbone.frozen_stages`: all tokens encoded, all blocks trained; `windows` reads the position
table in random windows. All run in turns, in processes of their own; the last line is JSON. Under
torchrun with `--launcher pytorch` one variant is measured in distributed training. With --profile,
the parts of real training steps instead, from the config's images.

Example:
    python tools/analysis_tools/benchmark_pretrain.py configs/pretrain/flsl_vits16_300e.py \
        --batch-size 16 --steps 5 --device cpu --dtype bfloat16
"""

__tool__ = True

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flsl_mm.apis.command_line import (
    add_launcher_arguments,
    add_options_argument,
    add_step_arguments,
    end_processes,
    run_command,
    start_tool,
    tool_parser,
)
from flsl_mm.utils.files import write_json

VARIANTS = ('flsl', 'plain', 'dino')
MORE_VARIANTS = ('whole', 'windows')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config of an FLSL pretraining')
    add_step_arguments(parser, batch_size=16, steps=5, warmup=2)
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS + MORE_VARIANTS,
        help='the first is compared with each other one (flsl plain dino; with --launcher flsl)',
    )
    parser.add_argument(
        '--profile',
        metavar='FILE',
        help='write a torch trace of one step (for chrome://tracing) and print where time goes',
    )
    parser.add_argument('--data-root', help="images for --profile, instead of the config's")
    parser.add_argument('--out', metavar='FILE', help='write the JSON to this file too')
    add_options_argument(parser)
    add_launcher_arguments(parser)
    args = parser.parse_args()
    launched = args.launcher != 'none'
    args.variants = args.variants or (VARIANTS[:1] if launched else VARIANTS)
    if launched and (args.profile or len(args.variants) > 1 or 'plain' in args.variants):
        parser.error('--launcher measures one variant that has a runner: no plain, no --profile')
    return args


if __name__ == '__main__':
    start_tool(parse_args)

import torch
from mmengine.config import Config
from plain_step import PlainStep, build_model, read_flsl_config

from flsl_mm.apis.benchmarking import (
    Turns,
    build_moving_optimizer,
    compare_variants,
    conditions,
    each_turn,
    random_crops,
    train_in_turns,
)
from flsl_mm.apis.frozen import usable_device
from flsl_mm.apis.profiling import print_parts, profile_training


def read_measured(args: argparse.Namespace) -> Config:
    """The config, made ready for any device and without pretrained weights.

    Raises:
        ConfigError: It is no pretraining with FLSL, or an override does not fit it.
        FileNotFoundError: There is none.
    """
    cfg = read_flsl_config(args.config, args.cfg_options)
    cfg.model.backbone.pop('init_cfg', None)  # the speed does not depend on the weights
    if earlier := cfg.model.get('previous_teacher'):
        earlier.init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02)
    cfg.optim_wrapper.precision = args.dtype
    return cfg


def build_variant(args: argparse.Namespace, variant: str) -> Callable[[Turns], None]:
    """The training of one variant, with a step in each turn."""
    cfg = read_measured(args)
    batch = random_crops(cfg.model.data_preprocessor.student_view.size, args.batch_size)
    if variant == 'plain':
        return each_turn(build_plain_step(args, cfg, batch))
    if variant == 'windows':
        cfg.model.backbone.position_window = (0.25, 1.0)
    if variant == 'dino':
        channels = cfg.model.head.in_channels
        cfg.model.pop('previous_teacher', None)
        cfg.model.pop('student_keep', None)
        cfg.model.update(type='DINO', neck=None)
        cfg.model.data_preprocessor.clean_views = False
        cfg.model.head = dict(type='DINOHead', in_channels=channels)
        for name, schedule in list(cfg.default_hooks.schedule.items()):
            if isinstance(schedule, dict) and schedule.target.startswith('neck.'):
                cfg.default_hooks.schedule.pop(name)
    if variant == 'whole':
        cfg.model.student_keep = 1.0
        cfg.model.backbone.pop('frozen_stages', None)
    if torch.device(args.device).index is not None:
        torch.cuda.set_device(args.device)
    cfg.work_dir, cfg.launcher = str(Path(args.folder, variant)), args.launcher

    def train(turns: Turns) -> None:
        train_in_turns(cfg, batch, turns)
        end_processes(args)

    return train


def build_plain_step(args: argparse.Namespace, cfg: Config, batch: dict) -> Callable[[], None]:
    """The step of the plain twin."""
    model = build_model(cfg.model, args.device)
    adamw, clip = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.clip_grad
    step = PlainStep(model, adamw.lr, adamw.weight_decay, clip.max_norm)

    def plain_step() -> None:
        data = model.data_preprocessor(batch, training=True)
        clean = data.get('clean_inputs')
        dtype = getattr(torch, args.dtype)
        step(data['inputs'], dtype, samples=data['data_samples'], clean=clean)

    return plain_step


def profile(args: argparse.Namespace) -> dict:
    """Take real training steps apart, and print the parts."""
    cfg = read_measured(args)
    loader = cfg.train_dataloader
    loader.batch_size = args.batch_size
    if args.data_root:
        loader.dataset.data_root = args.data_root
    model = build_model(cfg.model, args.device)
    wrapper = build_moving_optimizer(model, cfg.optim_wrapper)
    parts = profile_training(
        model, wrapper, loader, args.steps, args.warmup, args.device, trace=args.profile
    )
    print_parts(parts)
    seconds = sum(parts.values())
    return dict(
        images_per_second=args.batch_size / seconds,
        step_ms=1e3 * seconds,
        parts_ms={name: 1e3 * value for name, value in parts.items()},
        trace=args.profile,
    )


def measure(args: argparse.Namespace) -> None:
    """Measure, print, and write.

    Raises:
        DataError: The config or its images do not do, or a variant failed.
    """
    args.device = str(usable_device(args.device))
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # runners take a GPU where they see one
    read_measured(args)  # what is wrong with it shows before a process is started
    if args.profile:
        result = profile(args)
    else:
        with tempfile.TemporaryDirectory() as args.folder:
            result = compare_variants(partial(build_variant, args), args.variants, args)
    if not result:
        return  # the first process has it
    result.update(batch_size=args.batch_size, **conditions(args))
    if args.out:
        write_json(args.out, result)
    print(json.dumps(result))


def main() -> int:
    """Run the command; returns its exit code."""
    args = parse_args()
    return run_command('benchmark_pretrain.py', lambda: measure(args))


if __name__ == '__main__':
    sys.exit(main())

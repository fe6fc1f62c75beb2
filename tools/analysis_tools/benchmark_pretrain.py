r"""Speed and memory of a pretraining step, against its plain twin and against DINO.

The step is all that happens between two batches: views are made of crops in 8 bits that come from
the host, then forward, backward, clipping, optimizer and teacher. The crops are random and always
the same; how fast real ones come, `benchmark_dataloader.py` measures. The plain twin
(`plain_step.py`) has the same losses and updates, with every attention matrix in memory and a loop
over the parameters. DINO has the same network and views, and its own head. `whole` is the config's
step without `model.student_keep` and `model.backbone.frozen_stages`: all tokens encoded, all blocks
trained; `windows` reads the position table in random windows. All run in turns, in processes of
their own; the last line is JSON. With --profile, the parts of real training steps instead, from the
config's images.

Example:
    python tools/analysis_tools/benchmark_pretrain.py configs/pretrain/flsl_vits16_300e.py \
        --batch-size 16 --steps 5 --device cpu --dtype bfloat16
"""

__tool__ = True

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial

from flsl_mm.apis.command_line import (
    add_options_argument,
    add_step_arguments,
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
        default=VARIANTS,
        help='the first is compared with each other one (flsl plain dino)',
    )
    parser.add_argument(
        '--profile',
        metavar='FILE',
        help='write a torch trace of one step (for chrome://tracing) and print where time goes',
    )
    parser.add_argument('--data-root', help="images for --profile, instead of the config's")
    parser.add_argument('--out', metavar='FILE', help='write the JSON to this file too')
    add_options_argument(parser)
    return parser.parse_args()


if __name__ == '__main__':
    start_tool(parse_args)

import torch
from mmengine.config import Config
from plain_step import PlainStep, build_model, read_flsl_config

from flsl_mm.apis.benchmarking import (
    build_moving_optimizer,
    compare_variants,
    conditions,
    random_crops,
)
from flsl_mm.apis.frozen import usable_device
from flsl_mm.apis.profiling import print_parts, profile_training
from flsl_mm.models.layers.compile import compile_networks


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


def build_step(args: argparse.Namespace, variant: str) -> Callable[[], object]:
    """The step of one variant, to be called again and again."""
    cfg = read_measured(args)
    batch = random_crops(cfg.model.data_preprocessor.student_view.size, args.batch_size)
    if variant == 'windows':
        cfg.model.backbone.position_window = (0.25, 1.0)
    if variant == 'dino':
        channels = cfg.model.head.in_channels
        cfg.model.pop('previous_teacher', None)
        cfg.model.pop('student_keep', None)
        cfg.model.update(type='DINO', neck=None)
        cfg.model.data_preprocessor.clean_views = False
        cfg.model.head = dict(type='DINOHead', in_channels=channels)
    if variant == 'whole':
        cfg.model.student_keep = 1.0
        cfg.model.backbone.pop('frozen_stages', None)
    model = build_model(cfg.model, args.device)
    if variant == 'plain':
        adamw, clip = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.clip_grad
        step = PlainStep(model, adamw.lr, adamw.weight_decay, clip.max_norm)

        def plain_step() -> None:
            data = model.data_preprocessor(batch, training=True)
            clean = data.get('clean_inputs')
            dtype = getattr(torch, args.dtype)
            step(data['inputs'], dtype, samples=data['data_samples'], clean=clean)

        return plain_step
    wrapper = build_moving_optimizer(model, cfg.optim_wrapper)
    if options := cfg.get('compile'):
        compile_networks(model, **({} if options is True else options))
    return partial(model.train_step, batch, wrapper)


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
    build = partial(build_step, args)
    read_measured(args)  # what is wrong with it shows before a process is started
    result = profile(args) if args.profile else compare_variants(build, args.variants, args)
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

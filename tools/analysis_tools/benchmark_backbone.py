r"""Speed and memory of a detector's backbone, forward and backward, against its plain twin.

The plain twin has the same weights and results, but holds the attention matrices in memory. Both
run in turns, in processes of their own. The last line is JSON.

Example:
    python tools/analysis_tools/benchmark_backbone.py \
        configs/coco/mask-rcnn_flsl-vitb16_vitdet_100e_coco.py --size 1024 1024 --batch-size 1
"""

__tool__ = True

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial

from flsl_mm.apis.command_line import not_negative, positive, run_command, start_tool

VARIANTS = ('fast', 'plain')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file with model.backbone')
    parser.add_argument('--batch-size', type=positive, default=1, metavar='N')
    parser.add_argument('--size', type=positive, nargs=2, default=(1024, 1024), metavar=('H', 'W'))
    parser.add_argument('--steps', type=positive, default=5, help='measured steps')
    parser.add_argument('--warmup', type=not_negative, default=1, help='steps before them')
    parser.add_argument('--device', help='cpu, cuda or cuda:N (a GPU where there is one)')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16'], default='float32')
    args = parser.parse_args()
    if not os.path.isfile(args.config):
        parser.error(f'there is no config file {args.config}')
    return args


if __name__ == '__main__':
    start_tool(parse_args)

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from plain_step import use_plain_attention
from torch import Tensor

from flsl_mm.apis.benchmarking import measure_in_turns
from flsl_mm.apis.frozen import usable_device
from flsl_mm.models.backbones import relative_attention


def attend_plainly(qkv: Tensor, heads: int, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """:func:`attend_relative` with every N x N matrix in memory; shapes as there."""
    tokens = len(rel_h) * len(rel_w)
    q, k, v = qkv.view(-1, tokens, 3, heads, rel_h.shape[-1]).permute(2, 0, 3, 1, 4)
    grid = q.unflatten(2, (rel_h.shape[0], rel_w.shape[0]))
    bias_h = torch.einsum('bnhwd,hkd->bnhwk', grid, rel_h.to(q.dtype)).flatten(2, 3)
    bias_w = torch.einsum('bnhwd,wkd->bnhwk', grid, rel_w.to(q.dtype)).flatten(2, 3)
    bias = (bias_h.unsqueeze(-1) + bias_w.unsqueeze(-2)).flatten(-2)  # (B, heads, N, N)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
    return (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(len(qkv), -1)


def build_step(args: argparse.Namespace, variant: str) -> Callable[[], None]:
    """Forward and backward of one variant, to be called again and again."""
    torch.manual_seed(0)
    cfg = Config.fromfile(args.config).model.backbone
    cfg.pop('init_cfg', None)
    backbone = MODELS.build(cfg).to(args.device).train()
    if variant == 'plain':
        relative_attention.attend_relative = attend_plainly  # for the rest of the process
        use_plain_attention(backbone)
    images = torch.randn(args.batch_size, 3, *args.size, device=args.device)
    autocast = partial(
        torch.autocast,
        args.device.split(':')[0],
        torch.bfloat16,
        enabled=args.dtype == 'bfloat16',
    )

    def step() -> None:
        with autocast():
            loss = sum(level.float().mean() for level in backbone(images))
        loss.backward()
        backbone.zero_grad(set_to_none=True)

    return step


def measure(args: argparse.Namespace) -> None:
    """Measure both, compare and print.

    Raises:
        DataError: One of them failed.
    """
    args.device = str(usable_device(args.device))
    build = partial(build_step, args)
    sizes = (args.steps, args.warmup, args.device, args.batch_size)
    found = measure_in_turns(build, VARIANTS, *sizes)
    for name, values in found.items():
        print(f'{name:5}', '  '.join(f'{k} {v:.3f}' for k, v in values.items()))
    fast, plain = found['fast'], found['plain']
    comparison = dict(
        plain=plain,
        speedup=fast['images_per_second'] / plain['images_per_second'],
        memory_ratio=fast['peak_memory_gib'] / plain['peak_memory_gib'],
        device=torch.cuda.get_device_name() if args.device.startswith('cuda') else args.device,
        threads=torch.get_num_threads(),
        dtype=args.dtype,
    )
    if 'cpu_ms' in fast:
        comparison['cpu_time_ratio'] = fast['cpu_ms'] / plain['cpu_ms']
    print(json.dumps({**fast, **comparison}))


def main() -> int:
    """Run the command; returns its exit code."""
    args = parse_args()
    return run_command('benchmark_backbone.py', lambda: measure(args))


if __name__ == '__main__':
    sys.exit(main())

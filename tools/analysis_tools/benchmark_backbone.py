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
import sys
from collections.abc import Callable
from functools import partial

from flsl_mm.apis.command_line import (
    add_step_arguments,
    positive,
    run_command,
    start_tool,
    tool_parser,
)

VARIANTS = ('fast', 'plain')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file with model.backbone')
    add_step_arguments(parser, batch_size=1, steps=5, warmup=1)
    parser.add_argument('--size', type=positive, nargs=2, default=(1024, 1024), metavar=('H', 'W'))
    return parser.parse_args()


if __name__ == '__main__':
    start_tool(parse_args)

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from plain_step import use_plain_attention
from torch import Tensor

from flsl_mm.apis.benchmarking import RATIOS, Turns, compare_variants, conditions, each_turn
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


def build_pass(args: argparse.Namespace, variant: str) -> Callable[[Turns], None]:
    """Forward and backward of one variant, once a turn."""
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

    return each_turn(step)


def measure(args: argparse.Namespace) -> None:
    """Measure both, compare and print.

    Raises:
        DataError: One of them failed.
    """
    args.device = str(usable_device(args.device))
    found = compare_variants(partial(build_pass, args), VARIANTS, args)
    found.update({ratio: found[ratio]['plain'] for ratio in RATIOS if ratio in found})
    print(json.dumps({**found, **conditions(args)}))


def main() -> int:
    """Run the command; returns its exit code."""
    args = parse_args()
    return run_command('benchmark_backbone.py', lambda: measure(args))


if __name__ == '__main__':
    sys.exit(main())

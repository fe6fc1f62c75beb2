r"""Speed and memory of a detector's backbone, forward and backward, against its plain twin.

The plain twin has the same weights and results, but holds the attention matrices in memory. Both
run one after the other, in processes of their own. The last line is JSON.

Example:
    python tools/analysis_tools/benchmark_backbone.py \
        configs/coco/mask-rcnn_flsl-vitb16_vitdet_100e_coco.py --size 1024 1024 --batch-size 1
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

# Before torch is imported: see tools/train.py.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from flsl_mm.models.backbones import relative_attention  # noqa: E402

VARIANTS = ('fast', 'plain')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file with model.backbone')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N')
    parser.add_argument('--size', type=int, nargs=2, default=(1024, 1024), metavar=('H', 'W'))
    parser.add_argument('--steps', type=int, default=5, help='measured steps')
    parser.add_argument('--warmup', type=int, default=1, help='steps before them')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16'], default='float32')
    parser.add_argument('--variant', choices=VARIANTS, help='measure only this one')
    args = parser.parse_args()
    if not os.path.isfile(args.config):
        parser.error(f'there is no config file {args.config}')
    return args


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor) -> Tensor:
    """:func:`attend_relative` with every N x N matrix in memory; shapes as there."""
    grid = q.unflatten(2, (rel_h.shape[0], rel_w.shape[0]))
    bias_h = torch.einsum('bnhwd,hkd->bnhwk', grid, rel_h.to(q.dtype)).flatten(2, 3)
    bias_w = torch.einsum('bnhwd,wkd->bnhwk', grid, rel_w.to(q.dtype)).flatten(2, 3)
    bias = (bias_h.unsqueeze(-1) + bias_w.unsqueeze(-2)).flatten(-2)  # (B, heads, N, N)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
    return logits.softmax(dim=-1) @ v


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0, **kwargs
) -> Tensor:
    """``scaled_dot_product_attention`` with the N x N matrix in memory."""
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return logits.softmax(dim=-1) @ value


def make_plain(backbone: nn.Module) -> None:
    """Turn the backbone into its plain twin; for the rest of the process."""
    relative_attention.attend_relative = attend_plainly
    for layer in backbone.layers:
        layer.attn.scaled_dot_product_attention = plain_attention


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Images per second, milliseconds per step and peak memory of one variant."""
    torch.manual_seed(0)
    cfg = Config.fromfile(args.config).model.backbone
    cfg.pop('init_cfg', None)
    backbone = MODELS.build(cfg).to(args.device).train()
    if args.variant == 'plain':
        make_plain(backbone)
    images = torch.randn(args.batch_size, 3, *args.size, device=args.device)
    on_gpu = args.device.startswith('cuda')

    def step() -> None:
        with torch.autocast(
            args.device.split(':')[0], torch.bfloat16, enabled=args.dtype == 'bfloat16'
        ):
            loss = sum(level.float().mean() for level in backbone(images))
        loss.backward()
        backbone.zero_grad(set_to_none=True)
        if on_gpu:
            torch.cuda.synchronize()

    for _ in range(args.warmup):
        step()
    start = time.perf_counter()
    for _ in range(args.steps):
        step()
    seconds = (time.perf_counter() - start) / args.steps
    peak = (
        torch.cuda.max_memory_allocated()
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return dict(
        images_per_second=args.batch_size / seconds,
        step_ms=seconds * 1e3,
        peak_memory_gib=peak / 2**30,
    )


def main() -> None:
    """Measure one variant, or compare both."""
    args = parse_args()
    if args.variant:
        print(json.dumps(measure(args)))
        return
    found = {}
    for name in VARIANTS:
        command = [sys.executable, *sys.argv, f'--variant={name}']
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
        print(f'{name:5}', ' '.join(f'{k}={v:.3f}' for k, v in found[name].items()), flush=True)
    fast, plain = found['fast'], found['plain']
    comparison = dict(
        plain=plain,
        speedup=fast['images_per_second'] / plain['images_per_second'],
        memory_ratio=fast['peak_memory_gib'] / plain['peak_memory_gib'],
        device=args.device,
        dtype=args.dtype,
    )
    print(json.dumps({**fast, **comparison}))


if __name__ == '__main__':
    main()

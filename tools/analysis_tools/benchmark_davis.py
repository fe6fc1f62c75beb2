r"""Speed of label propagation, and of J and F, against their plain twins.

The plain twin of propagation compares all tokens of all frames in one dense matrix and masks it,
as the published scripts do; that of J and F works on whole images, as the official evaluator does.
Fast and plain take turns frame by frame, so that a busy machine slows both, and are checked to
agree. Features are random, which changes no cost. With --whole the whole task, from the files of a
drawn video to J and F and the written masks, in float32 and in bfloat16, and its parts. The last
line is JSON.

Example:
    python tools/analysis_tools/benchmark_davis.py --frames 25 --device cpu
"""

__tool__ = True

import argparse
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

from flsl_mm.apis.command_line import (
    add_device_argument,
    not_negative,
    positive,
    start_tool,
    tool_parser,
)

VARIANTS = ('fast', 'plain')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--frames', type=int, default=12, help='frames of the video (%(default)s)')
    parser.add_argument(
        '--grid',
        type=positive,
        nargs=2,
        default=(30, 52),
        metavar=('H', 'W'),
        help='tokens of a frame (30 52: patches of 16 at 480p)',
    )
    parser.add_argument('--dim', type=positive, default=384, help='width of a token (%(default)s)')
    parser.add_argument('--objects', type=positive, default=2, help='(%(default)s)')
    parser.add_argument('--radius', type=not_negative, default=12, help='(%(default)s)')
    parser.add_argument('--topk', type=positive, default=5, help='(%(default)s)')
    parser.add_argument('--num-frames', type=positive, default=8, help='remembered (%(default)s)')
    parser.add_argument(
        '--size', type=positive, nargs=2, default=(480, 854), metavar=('H', 'W'), help='of masks'
    )
    parser.add_argument(
        '--whole',
        metavar='NETWORK',
        help="measure the whole task with a checkpoint or 'random:ARCH/PATCH' instead",
    )
    add_device_argument(parser)
    args = parser.parse_args()
    if args.frames < 3:
        parser.error('--frames must be at least 3')
    return args


if __name__ == '__main__':
    start_tool(parse_args)

import torch
import torch.nn.functional as F
from torch import Tensor

from flsl_mm.apis.benchmarking import in_a_fork, synchronize
from flsl_mm.apis.frozen import usable_device
from flsl_mm.datasets.davis import FRAMES, LISTS, MASKS, write_masks
from flsl_mm.evaluation.functional.davis import ObjectMeasures, disk_of, measure_sequence
from flsl_mm.evaluation.functional.label_propagation import LabelPropagator
from flsl_mm.evaluation.tasks import davis
from flsl_mm.evaluation.tasks.frozen_task import PRECISIONS
from flsl_mm.models import FrozenViT, build_vit

# What the parts of the whole task are called.
PARTS = {
    'read_frame': 'decode',
    'prepare_frame': 'resize and normalize',
    'propagate': 'propagate',
    'remember': 'propagate',
    'labels_to_mask': 'upsample',
    'write_masks': 'write masks',
    'read_masks': 'read ground truth',
    'measure_sequence': 'J and F',
}


def window_mask(grid: tuple[int, int], radius: int) -> Tensor:
    """1 where two tokens are at most ``radius`` rows and columns apart, else 0: (h*w, h*w).

    Filled pair by pair in Python, as in the published scripts.
    """
    height, width = grid
    mask = torch.zeros(height, width, height, width)
    for i in range(height):
        for j in range(width):
            for k in range(max(i - radius, 0), min(i + radius + 1, height)):
                for m in range(max(j - radius, 0), min(j + radius + 1, width)):
                    mask[i, j, k, m] = 1
    return mask.view(height * width, height * width)


def propagate_plainly(
    target: Tensor,
    sources: Tensor,
    labels: Tensor,
    topk: int,
    mask: Tensor,
    temperature: float = 0.1,
) -> Tensor:
    """Label propagation by one dense matrix.

    Args:
        target: (h*w, D) features.
        sources: (T, h*w, D) features.
        labels: (T, C, h, w).
        topk: Sources that vote.
        mask: (h*w, h*w), see :func:`window_mask`.
        temperature: Of the weights.

    Returns:
        Tensor: (C, h, w).
    """
    frames, classes, height, width = labels.shape
    target, sources = F.normalize(target, dim=-1), F.normalize(sources, dim=-1)
    queries = target.unsqueeze(0).repeat(frames, 1, 1)
    weights = torch.exp(torch.bmm(queries, sources.transpose(1, 2)) / temperature)
    weights *= mask  # (T, targets, sources)
    weights = weights.transpose(1, 2).reshape(-1, height * width)  # (T * sources, targets)
    least = weights.topk(topk, dim=0).values.amin(0)
    weights[weights < least] = 0
    weights = weights / weights.sum(0, keepdim=True)
    flat = labels.flatten(2).transpose(1, 2).reshape(-1, classes)  # (T * sources, C)
    return (flat.T @ weights).view(classes, height, width)


def measure_plainly(truth: np.ndarray, prediction: np.ndarray) -> ObjectMeasures:
    """J and F of each object, first and last frame left out, on whole images.

    Args:
        truth: (T, H, W) object ids, without 255.
        prediction: (T, H, W) likewise.

    Returns:
        ObjectMeasures: (N, T - 2) each.
    """
    ids = np.arange(1, truth[0].max() + 1)[:, None, None, None]
    expected, found = truth[None, 1:-1] == ids, prediction[None, 1:-1] == ids  # (N, S, H, W)
    union = (expected | found).sum((-2, -1))
    region = (expected & found).sum((-2, -1)) / np.maximum(union, 1)
    region[union == 0] = 1
    boundary = np.array(
        [[boundary_plainly(*pair) for pair in zip(*o)] for o in zip(expected, found)]
    )
    return ObjectMeasures(region, boundary)


def boundary_plainly(expected: np.ndarray, found: np.ndarray) -> float:
    """F of two masks (H, W)."""
    disk = disk_of(int(np.ceil(0.008 * np.linalg.norm(expected.shape))))
    maps = [edges_plainly(mask) for mask in (expected, found)]
    near = [cv2.dilate(edges.astype(np.uint8), disk) > 0 for edges in maps]
    num_expected, num_found = maps[0].sum(), maps[1].sum()
    if num_expected == 0 or num_found == 0:
        return float(num_expected == num_found)
    precision = (maps[1] & near[0]).sum() / num_found
    recall = (maps[0] & near[1]).sum() / num_expected
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def edges_plainly(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower right neighbor, (H, W) bool."""
    right, below, diagonal = (np.zeros_like(mask) for _ in range(3))
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    edges = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    edges[-1] = mask[-1] ^ right[-1]
    edges[:, -1] = mask[:, -1] ^ below[:, -1]
    edges[-1, -1] = False
    return edges


class Video:
    """Random features and labels; both ways of propagation over the same frames."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.args = args
        height, width = args.grid
        self.features = torch.randn(args.frames, height * width, args.dim, device=args.device)
        ids = torch.randint(args.objects + 1, (height, width), device=args.device)
        first = F.one_hot(ids, args.objects + 1).permute(2, 0, 1).float()
        self.propagator = LabelPropagator(
            (height, width), args.radius, args.topk, num_frames=args.num_frames
        )
        self.propagator.remember(self.features[0], first)
        self.labels = [first]

    def fast(self, frame: int) -> Tensor:
        """Labels of a frame; remembers them."""
        labels = self.propagator.propagate(self.features[frame])
        self.propagator.remember(self.features[frame], labels)
        return labels

    def plain(self, frame: int, mask: Tensor) -> Tensor:
        """The same from one dense matrix."""
        used = [0, *range(max(1, frame - self.args.num_frames + 1), frame)]
        labels = propagate_plainly(
            self.features[frame],
            torch.stack([self.features[i] for i in used]),
            torch.stack([self.labels[i] for i in used]),
            self.args.topk,
            mask,
        )
        self.labels.append(labels)
        return labels


def timed(function: Callable, *arguments, **options):
    """Result of a call, and its seconds."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    synchronize(device)
    start = time.perf_counter()
    result = function(*arguments, **options)
    synchronize(device)
    return result, time.perf_counter() - start


@torch.no_grad()
def compare_propagation(args: argparse.Namespace) -> dict[str, float]:
    """Frames per second of both ways."""
    video = Video(args)
    mask, mask_seconds = timed(window_mask, args.grid, args.radius)
    mask = mask.to(args.device)
    fast_seconds = plain_seconds = 0.0
    for frame in range(1, args.frames):
        fast, seconds = timed(video.fast, frame)
        fast_seconds += seconds
        plain, seconds = timed(video.plain, frame, mask)
        plain_seconds += seconds
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)
    number = args.frames - 1
    return dict(
        frames_per_second=number / fast_seconds,
        plain_frames_per_second=number / plain_seconds,
        plain_mask_seconds=mask_seconds,
        speedup=plain_seconds / fast_seconds,
        speedup_with_mask=(plain_seconds + mask_seconds) / fast_seconds,
    )


@torch.no_grad()
def peak_memory(args: argparse.Namespace, variant: str) -> float:
    """MiB that a variant adds to the features of a video, at most; of the GPU or the process."""
    video = Video(args)
    steps = range(1, min(args.frames, args.num_frames + 1))
    on_gpu = args.device.startswith('cuda')
    torch.mm(video.features[0], video.features[0].T[:, :64])  # what the library itself takes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    if variant == 'fast':
        for frame in steps:
            video.fast(frame)
    else:
        mask = torch.ones([video.features.shape[1]] * 2, device=args.device)
        for frame in steps:
            video.plain(frame, mask)
    if on_gpu:
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


def compare_memory(args: argparse.Namespace) -> dict[str, float]:
    """Peak memory of both ways; on the CPU in processes of their own, before this one computes."""
    if args.device.startswith('cuda'):
        values = [peak_memory(args, variant) for variant in VARIANTS]
    else:
        values = [in_a_fork(peak_memory, args, variant) for variant in VARIANTS]
    return {f'{variant}_memory_mib': value for variant, value in zip(VARIANTS, values)}


def draw_masks(args: argparse.Namespace, shift: int) -> np.ndarray:
    """Discs that move, one for each object: (frames, H, W) uint8."""
    height, width = args.size
    masks = np.zeros((args.frames, height, width), np.uint8)
    for frame, mask in enumerate(masks):
        for index in range(1, args.objects + 1):
            center = (width * index // (args.objects + 1) + frame + shift, height // 2 + shift)
            cv2.ellipse(mask, center, (width // 10, height // 6), 30, 0, 360, index, -1)
    return masks


def compare_measures(args: argparse.Namespace) -> dict[str, float]:
    """Frames per second of both ways of J and F."""
    truth, prediction = draw_masks(args, 0), draw_masks(args, 4)
    fast_seconds = plain_seconds = 0.0
    for frame in range(1, args.frames - 1):
        part = slice(frame - 1, frame + 2)  # one scored frame
        fast, seconds = timed(measure_sequence, truth[part], prediction[part])
        fast_seconds += seconds
        plain, seconds = timed(measure_plainly, truth[part], prediction[part])
        plain_seconds += seconds
        np.testing.assert_allclose(fast, plain)
    number = args.frames - 2
    return dict(
        jf_frames_per_second=number / fast_seconds,
        plain_jf_frames_per_second=number / plain_seconds,
        jf_speedup=plain_seconds / fast_seconds,
    )


def write_video(args: argparse.Namespace, root: Path) -> None:
    """A video of moving discs with noise as a data set of DAVIS' layout."""
    masks = draw_masks(args, 0)
    names = [f'{i:05}' for i in range(args.frames)]
    (root / LISTS).mkdir(parents=True)
    (root / LISTS / 'val.txt').write_text('drawn')
    write_masks(root / MASKS / 'drawn', names, masks)
    (root / FRAMES / 'drawn').mkdir(parents=True)
    generator = np.random.default_rng(0)
    ground = cv2.resize(generator.integers(0, 160, (12, 20, 3), dtype=np.uint8), args.size[::-1])
    for name, mask in zip(names, masks):
        noise = generator.integers(0, 30, ground.shape, dtype=np.uint8)
        frame = np.where(mask[..., None] > 0, 160 + 20 * mask[..., None], ground).astype(np.uint8)
        cv2.imwrite(str(root / FRAMES / 'drawn' / f'{name}.jpg'), frame + noise)


def timed_parts(task: davis.DavisPropagation, vit: FrozenViT) -> tuple[dict, Counter]:
    """What a task finds, and the seconds of its parts."""
    seconds: Counter = Counter()

    def around(part: str, function: Callable) -> Callable:
        def run(*args, **kwargs):
            result, taken = timed(function, *args, **kwargs)
            seconds[part] += taken
            return result

        return run

    with patch.object(vit, 'forward_tokens', around('features', vit.forward_tokens)):
        owners = [LabelPropagator if hasattr(LabelPropagator, name) else davis for name in PARTS]
        patches = [
            patch.object(owner, name, around(part, getattr(owner, name)))
            for owner, (name, part) in zip(owners, PARTS.items())
        ]
        for each in patches:
            each.start()
        try:
            found, whole = timed(task, vit)
        finally:
            for each in patches:
                each.stop()
    seconds['other'] = whole - seconds.total()
    return found, seconds


def compare_whole(args: argparse.Namespace) -> dict:
    """Frames per second of the whole task, in each precision, in turns; and its parts."""
    vit = build_vit(args.whole).to(args.device)
    taken = {precision: Counter() for precision in PRECISIONS}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_video(args, Path(folder))
        for turn in range(3):
            for precision in PRECISIONS:
                out_dir = Path(folder, f'masks{turn}')
                task = davis.DavisPropagation(folder, precision=precision, out_dir=out_dir)
                found[precision], seconds = timed_parts(task, vit)
                if turn:  # the first one warms up
                    taken[precision] += seconds
    result = {}
    for precision, seconds in taken.items():
        prefix = '' if precision == 'float32' else f'{precision}_'
        result[f'{prefix}frames_per_second'] = 2 * args.frames / seconds.total()
        result[f'{prefix}J&F-Mean'] = found[precision]['J&F-Mean']
        for part, value in seconds.items():
            result[f'{prefix}{part} (ms)'] = 1e3 * value / (2 * args.frames)
    result['speedup'] = result['bfloat16_frames_per_second'] / result['frames_per_second']
    return result


def main() -> None:
    """Measure."""
    args = parse_args()
    args.device = str(usable_device(args.device))
    cv2.setNumThreads(torch.get_num_threads())
    if args.whole:
        found = compare_whole(args)
    else:
        found = compare_memory(args) | compare_propagation(args)
        found.update(compare_measures(args))
    for name, value in found.items():
        print(f'{name:36}{value:10.2f}')
    print(json.dumps(dict(found, device=args.device, threads=torch.get_num_threads())))


if __name__ == '__main__':
    main()

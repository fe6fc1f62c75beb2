r"""Speed and cost of the image pipeline, beside its plain twin: the released code's form.

The twin makes every view with torchvision on PIL images in the worker and sends floats. Both are
measured in turns, several times, in one run. CPU times are of one core: the worker's part, from
the file to the collated batch, and the part of the data preprocessor, which in training runs on
the training device. `images_per_second` is what the data loader delivers with W workers. The last
line is JSON.

Example:
    python tools/analysis_tools/benchmark_dataloader.py configs/pretrain/flsl_vits16_300e.py \
        --data-root data/imagenet --workers 2
"""

__tool__ = True

import argparse
import json
import os
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from flsl_mm.apis.command_line import (
    not_negative,
    positive,
    run_command,
    start_tool,
    tool_parser,
)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config file of a pretraining')
    parser.add_argument('--data-root', required=True, help='folder of images')
    parser.add_argument(
        '--workers', type=not_negative, default=1, metavar='W', help='of the data loader'
    )
    parser.add_argument('--batch-size', type=positive, default=32)
    parser.add_argument(
        '--images', type=positive, default=256, help='per measurement; repeated if few'
    )
    parser.add_argument('--repeats', type=positive, default=5, help='measurements of each')
    parser.add_argument(
        '--short-side',
        type=positive,
        metavar='PX',
        help='resize the images first, into a temporary folder as JPEGs of quality 90',
    )
    args = parser.parse_args(arguments)
    if args.images < args.batch_size:
        parser.error('--images must be at least --batch-size')
    return args


# Before torch is imported: CPU times are of one core.
os.environ['OMP_NUM_THREADS'] = '1'
if __name__ == '__main__':
    start_tool(parse_args)

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from plain_step import PlainViews, open_image
from torch.utils.data import DataLoader, default_collate

from flsl_mm.datasets.unlabeled_images import UnlabeledImages
from flsl_mm.engine.runners import FLSLRunner


def cpu_ms(work: Callable[[], object], count: int) -> float:
    """Milliseconds of processor time that ``work`` takes for each of ``count`` images."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / count * 1e3


def rate(loader: Iterable) -> float:
    """Images per second of a whole pass, from a standing start with running workers."""
    start, count = time.perf_counter(), 0
    for batch in loader:
        count += len(batch['inputs'] if isinstance(batch, dict) else batch[0])
    return count / (time.perf_counter() - start)


def bytes_per_image(batch: dict | list) -> float:
    """What travels from the worker to the trainer for one image of a batch."""
    if isinstance(batch, dict):
        rest = len(pickle.dumps(batch['data_samples']))
        return (batch['inputs'].nbytes + rest) / len(batch['inputs'])
    return sum(view.nbytes for view in batch) / len(batch[0])


def rewrite_images(dataset: UnlabeledImages, short_side: int, folder: Path) -> None:
    """Save the images as JPEGs of another size; those that cannot be read are left out and named.

    Args:
        dataset: The images.
        short_side: Their new short side in pixels.
        folder: Where to.
    """
    for i in range(len(dataset)):
        try:
            with open_image(dataset, i) as file:
                image = file.convert('RGB')
        except OSError as error:
            print(f'image skipped, cannot be read: {dataset.source.path(i)}: {error}')
            continue
        factor = short_side / min(image.size)
        size = [round(side * factor) for side in image.size]
        image.resize(size, Image.Resampling.BICUBIC).save(folder / f'{i:06}.jpg', quality=90)


class Benchmark:
    """Both pipelines of a config, ready to be measured.

    Args:
        cfg: A pretraining's config.
        args: The command line.
        data_root: Folder of images.
    """

    def __init__(self, cfg: Config, args: argparse.Namespace, data_root: str) -> None:
        self.args = args
        self.preprocessor = MODELS.build(cfg.model.data_preprocessor)
        self.dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'data_root': data_root})
        self.dataset.indices = np.arange(args.images) % len(self.dataset)
        self.plain = PlainViews(self.dataset, self.preprocessor)
        settings = dict(batch_size=args.batch_size, pin_memory=torch.cuda.is_available())
        loader = {**cfg.train_dataloader, **settings, 'dataset': self.dataset}
        self.broken: dict[str, str] = {}  # by path, why it cannot be read
        self.here = self._build(loader, 0)
        self.loader = self._build(loader, args.workers)
        settings.update(drop_last=True, collate_fn=default_collate)
        self.plain_here = DataLoader(self.plain, **settings)
        self.plain_loader = DataLoader(
            self.plain,
            num_workers=args.workers,
            persistent_workers=args.workers > 0,
            **settings,
        )

    def _build(self, loader: dict, workers: int) -> DataLoader:
        return FLSLRunner.build_dataloader({**loader, 'num_workers': workers}, seed=0)

    def measure(self) -> dict[str, float]:
        """One measurement of everything, in turns."""
        count = self.args.images // self.args.batch_size * self.args.batch_size
        batches: list[dict] = []
        worker = cpu_ms(lambda: batches.extend(self.here), count)
        plain = cpu_ms(lambda: [None for _ in self.plain_here], count)

        def run_preprocessor() -> None:
            for batch in batches:
                self.preprocessor(batch, training=True)

        for batch in batches:
            for sample in batch['data_samples']:
                self.broken.update(sample.get('broken', ()))
        device = cpu_ms(run_preprocessor, count)
        return dict(
            images_per_second=rate(self.loader),
            plain_images_per_second=rate(self.plain_loader),
            worker_ms=worker,
            device_ms=device,
            plain_ms=plain,
            worker_speedup=plain / worker,
            cpu_ratio=(worker + device) / plain,
        )

    def run(self) -> dict[str, float]:
        """Medians of several measurements, after one that only warms up."""
        self.measure()
        for path, reason in self.broken.items():
            print(f'image skipped, cannot be read: {path}: {reason}')
        rows = []
        for number in range(self.args.repeats):
            rows.append(self.measure())
            line = ' '.join(f'{name}={value:.3g}' for name, value in rows[-1].items())
            print(f'[{number + 1}/{self.args.repeats}] {line}', flush=True)
        found = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        found['bytes_per_image'] = bytes_per_image(next(iter(self.here)))
        found['plain_bytes_per_image'] = bytes_per_image(next(iter(self.plain_here)))
        return found


def print_table(found: dict[str, float], workers: int) -> None:
    """Both pipelines side by side."""
    total = found['worker_ms'] + found['device_ms']
    rows = [
        ('worker, CPU ms an image', found['worker_ms'], found['plain_ms']),
        ('data preprocessor, CPU ms an image', found['device_ms'], 0.0),
        ('together', total, found['plain_ms']),
        (
            f'images/s with {workers} workers',
            found['images_per_second'],
            found['plain_images_per_second'],
        ),
        ('kB an image to the trainer', found['bytes_per_image'] / 1e3,
         found['plain_bytes_per_image'] / 1e3),
    ]  # fmt: skip
    print(f'\n{"":36}{"this":>10}{"plain":>10}')
    for name, ours, plain in rows:
        print(f'{name:36}{ours:10.2f}{plain:10.2f}')
    print(
        f"the worker does {found['worker_speedup']:.2f} times the plain twin's images per core; "
        f'worker and preprocessor together cost {found["cpu_ratio"]:.2f} of its time\n'
    )


def measure(args: argparse.Namespace) -> None:
    """Measure both pipelines, and print.

    Raises:
        DataError: The images cannot be used.
        FileNotFoundError: There are none.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(args.config)
    with tempfile.TemporaryDirectory() as folder:
        data_root = args.data_root
        if args.short_side:
            dataset = DATASETS.build(dict(type='UnlabeledImages', data_root=data_root))
            rewrite_images(dataset, args.short_side, Path(folder))
            data_root = folder
        found = Benchmark(cfg, args, data_root).run()
    print_table(found, args.workers)
    conditions = dict(workers=args.workers, batch_size=args.batch_size, short_side=args.short_side)
    print(json.dumps({**found, **conditions}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('benchmark_dataloader.py', lambda: measure(args))


if __name__ == '__main__':
    sys.exit(main())

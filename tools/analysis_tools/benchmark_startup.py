r"""Start-up time and memory of the data set of a pretraining, with very many images.

Makes N file names up in a temporary folder: as empty files in class folders, as a list file and as
an index of tar files. For each, in a process of its own: seconds until the sampler hands out the
first key, memory that this took, and what a forked data loader worker takes for itself after each
epoch of asking for every image once (no image is read). The last line is JSON.

Example:
    python tools/analysis_tools/benchmark_startup.py --names 1281167
"""

__tool__ = True

import argparse
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flsl_mm.apis.command_line import not_negative, positive, run_command, start_tool, tool_parser
from flsl_mm.datasets.tar_shards import INDEX_NAME

CLASSES = 1000
KINDS = ('list', 'shards', 'folders')
IMAGE_BYTES = 110_000


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--names', type=positive, default=1_281_167, help='images (ImageNet has that)'
    )
    parser.add_argument('--epochs', type=not_negative, default=3, help='of asking for every image')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS)
    parser.add_argument('--temporary', help="where to make the files up (the system's folder)")
    return parser.parse_args(arguments)


if __name__ == '__main__':
    start_tool(parse_args)

from flsl_mm.apis.benchmarking import in_a_fork
from flsl_mm.datasets.packed_strings import PackedStrings
from flsl_mm.datasets.samplers import ResumableSampler
from flsl_mm.datasets.unlabeled_images import UnlabeledImages


def make_names(count: int) -> list[str]:
    """Names like ImageNet's, sorted."""
    share = -(-count // CLASSES)
    names = (
        f'n{1440764 + 997 * (i // share):08}/n{1440764 + 997 * (i // share):08}_{i % share:05}.JPEG'
        for i in range(count)
    )
    return list(names)


def make_source(kind: str, names: Sequence[str], folder: Path) -> None:
    """Make the names up in a folder, in one of :data:`KINDS`."""
    if kind == 'list':
        (folder / 'list.txt').write_text('\n'.join(names))
    elif kind == 'shards':
        make_index(names, folder)
    else:
        for name in names:
            path = folder / name
            if name.endswith('_00000.JPEG'):
                path.parent.mkdir()
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def make_index(names: Sequence[str], folder: Path) -> None:
    """Tar files of nothing but holes, a thousand, and an index of images in them."""
    share = -(-len(names) // CLASSES)
    shards = [f'{i:06}.tar' for i in range(-(-len(names) // share))]
    step = IMAGE_BYTES + tarfile.BLOCKSIZE
    for name in shards:
        with (folder / name).open('wb') as file:
            file.truncate(share * step)
    numbers = np.arange(len(names))
    packed, packed_shards = PackedStrings(names), PackedStrings(shards)
    np.savez(
        folder / INDEX_NAME,
        shard_data=packed_shards.data,
        shard_ends=packed_shards.ends,
        shard_size=np.full(len(shards), share * step),
        name_data=packed.data,
        name_ends=packed.ends,
        shard=(numbers // share).astype(np.int32),
        start=numbers % share * step,
        size=np.full(len(names), IMAGE_BYTES),
    )


def own_memory() -> float:
    """MiB that this process shares with no other."""
    lines = Path('/proc/self/smaps_rollup').read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith('Private_')) / 1024


def ask_for_all(dataset: UnlabeledImages, epochs: int) -> list[float]:
    """MiB of this process's own at first and after each epoch of asking for every image."""
    found = [own_memory()]
    for _ in range(epochs):
        for i in range(len(dataset)):
            dataset.source.path(i)
        found.append(own_memory())
    return found


def measure_source(folder: str, epochs: int) -> dict:
    """Seconds and MiB of one source of images."""
    ann_file = 'list.txt' if os.path.isfile(os.path.join(folder, 'list.txt')) else ''
    before, start = own_memory(), time.perf_counter()
    dataset = UnlabeledImages(folder, ann_file)
    next(iter(ResumableSampler(dataset, seed=0)))
    seconds, memory = time.perf_counter() - start, own_memory() - before
    return dict(
        images=len(dataset),
        startup_seconds=seconds,
        startup_mib=memory,
        worker_mib_after_epochs=in_a_fork(ask_for_all, dataset, epochs),
    )


def compare_sources(args: argparse.Namespace) -> None:
    """Measure every kind, and print.

    Raises:
        OSError: The files cannot be made up.
    """
    names, found = make_names(args.names), {}
    for kind in args.kinds:
        with tempfile.TemporaryDirectory(dir=args.temporary) as folder:
            start = time.perf_counter()
            make_source(kind, names, Path(folder))
            print(f'{kind}: made up in {time.perf_counter() - start:.0f} s', flush=True)
            row = found[kind] = in_a_fork(measure_source, folder, args.epochs)
        epochs = ' '.join(f'{mib:.1f}' for mib in row['worker_mib_after_epochs'])
        print(
            f'{kind}: {row["images"]} images, start-up {row["startup_seconds"]:.2f} s and '
            f'{row["startup_mib"]:.0f} MiB; own memory of a worker at its start and after each '
            f'epoch: {epochs} MiB',
            flush=True,
        )
    print(json.dumps(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse_args(arguments)
    return run_command('benchmark_startup.py', lambda: compare_sources(args))


if __name__ == '__main__':
    sys.exit(main())

"""Time and memory of training steps that are compared with each other."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmpretrain.structures import DataSample
from torch import multiprocessing, nn
from torch.utils.data import DataLoader, Dataset

from ..datasets import ResumableSampler
from ..engine.loops import ResumableTrainLoop
from ..utils.errors import DataError
from .command_line import build_runner

Turns = Iterable[None]
Build = Callable[[str], Callable[[Turns], object]]

# How the first variant does beside another one: the ratio of these numbers of the two.
RATIOS = dict(speedup='images_per_second', memory_ratio='peak_memory_gib', cpu_time_ratio='cpu_ms')


def compare_variants(
    build: Build, variants: Sequence[str], args: argparse.Namespace
) -> dict[str, Any]:
    """Measure variants of a step in turns, print them, and compare the first with the others.

    Args:
        build: As for :func:`measure_in_turns`.
        variants: Their names.
        args: What :func:`~flsl_mm.apis.command_line.add_step_arguments` has read.

    Returns:
        dict: The numbers of the first variant, those of each other one by its name, and each of
        :data:`RATIOS` by the name of the other. Nothing where another process reports.
    """
    found = measure_in_turns(build, variants, args.steps, args.warmup, args.device, args.batch_size)
    if not found:
        return {}
    for name, values in found.items():
        print(f'{name:6}', '  '.join(f'{key} {value:.3f}' for key, value in values.items()))
    first = found.pop(variants[0])
    ratios = {
        ratio: {name: first[key] / values[key] for name, values in found.items()}
        for ratio, key in RATIOS.items()
        if found and key in first
    }
    return {**first, **found, **ratios}


def conditions(args: argparse.Namespace) -> dict[str, Any]:
    """What was measured on: device by name, threads, type of numbers."""
    on_gpu = args.device.startswith('cuda')
    return dict(
        device=torch.cuda.get_device_name(args.device) if on_gpu else args.device,
        threads=torch.get_num_threads(),
        dtype=args.dtype,
    )


def measure_in_turns(
    build: Build, variants: Sequence[str], steps: int, warmup: int, device: str, batch_size: int
) -> dict[str, dict[str, float]]:
    """Measure variants of a step side by side.

    Each variant lives in a process of its own, so that its memory is its own, and they take turns
    step by step, so that whatever else the machine does meets all of them alike. Where a launcher
    has started several processes, each has one of a variant, and these train together.

    Args:
        build: Makes a variant's work; called in the variant's process, so it must be picklable. The
            work gets the turns, and takes one step on one batch in each of them.
        variants: Their names.
        steps: Measured steps of each.
        warmup: Steps before them.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        batch_size: Images per step and process.

    Returns:
        dict[str, dict[str, float]]: By variant ``processes``, ``images_per_second`` of all of them
        and ``step_ms``, from the median step; and ``peak_memory_gib``: on a GPU the peak of the
        allocated memory, on a CPU that of the resident memory less the ``process_gib`` that
        interpreter and libraries had taken before the model was built. On a CPU also ``cpu_ms``,
        the processor time of the median step over all threads, in which waiting for other programs
        does not count. Nothing where this process is not the first of several.

    Raises:
        DataError: A variant failed; its traceback is on stderr.
    """
    context = multiprocessing.get_context('spawn')
    peers: dict[str, Connection] = {}
    processes = []
    for name in variants:
        peers[name], theirs = context.Pipe()
        processes.append(
            context.Process(target=_serve, args=(theirs, build, name, device), daemon=True)
        )
        processes[-1].start()
        theirs.close()
    found = {name: _receive(name, peer) for name, peer in peers.items()}
    reports = not any([values.pop('rank') for values in found.values()])
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(warmup + steps):
        for name, peer in peers.items():
            peer.send('step')
            taken[name].append(_receive(name, peer))
        shown = ', '.join(f'{name} {times[-1][0]:.3f} s' for name, times in taken.items())
        if reports:
            print(f'step {turn + 1}/{warmup + steps}: {shown}', flush=True)
    for name, peer in peers.items():
        peer.send('stop')
        wall, processor = (1e3 * statistics.median(t) for t in zip(*taken[name][warmup:]))
        images = batch_size * found[name]['processes']
        speed = dict(images_per_second=1e3 * images / wall, step_ms=wall)
        if not device.startswith('cuda'):
            speed['cpu_ms'] = processor
        found[name] = {**speed, **_receive(name, peer), **found[name]}
    for process in processes:
        process.join()
    return found if reports else {}


def _receive(name: str, peer: Connection):
    try:
        return peer.recv()
    except EOFError:
        raise DataError(f'the variant {name!r} failed; see above') from None


def _serve(connection: Connection, build: Build, variant: str, device: str) -> None:
    """Do the work of one variant, a step whenever asked to."""
    before = 0 if device.startswith('cuda') else resident_bytes('VmRSS')
    build(variant)(_turns(connection, device, before))


def _turns(connection: Connection, device: str, before: int) -> Iterator[None]:
    """Turns as they are asked for; what is done in one is timed.

    Args:
        connection: Asks for turns, and gets what they took.
        device: Where they compute.
        before: Bytes of this process before its work was built; 0 on a GPU.
    """
    rank, processes = get_dist_info()
    start = dict(process_gib=before / 2**30) if before else {}
    try:
        connection.send(dict(start, rank=rank, processes=processes))
        while connection.recv() == 'step':
            start, processor = time.perf_counter(), time.process_time()
            yield
            synchronize(device)
            connection.send((time.perf_counter() - start, time.process_time() - processor))
    except (EOFError, OSError):
        return  # another variant failed
    peak = torch.cuda.max_memory_allocated(device) if not before else resident_bytes('VmHWM')
    connection.send(dict(peak_memory_gib=(peak - before) / 2**30))


def each_turn(step: Callable[[], object]) -> Callable[[Turns], None]:
    """The work that takes this step in each turn."""

    def work(turns: Turns) -> None:
        for _ in turns:
            step()

    return work


class _ManyImages(Dataset):
    """As many as ImageNet has, none of which is read."""

    metainfo: dict = {}

    def __len__(self) -> int:
        return 1281167


class OneBatch(DataLoader):
    """A loader of very many images that has one batch ready, whenever it is its trainer's turn.

    Args:
        batch: With ``inputs``.
        turns: How often it is given.
    """

    def __init__(self, batch: dict[str, Any], turns: Turns) -> None:
        images = _ManyImages()
        super().__init__(
            images, len(batch['inputs']), sampler=ResumableSampler(images), drop_last=True
        )
        self.batch, self.turns = batch, turns

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The batch in each turn."""
        for _ in self.turns:
            yield self.batch


def train_in_turns(cfg: Config, batch: dict[str, Any], turns: Turns) -> None:
    """Train with the runner of a config and all that it does in an iteration, one in each turn.

    What it does between epochs is left out: evaluations, pictures and checkpoints. It logs, and
    saves by time, to its work dir.

    Args:
        cfg: Of a pretraining, whose images are not read.
        batch: As its data loader would give it, the same in all iterations.
        turns: Iterations.
    """
    cfg.merge_from_dict(
        {
            'default_hooks.frozen_evaluation': None,
            'default_hooks.feature_maps': None,
            'default_hooks.checkpoint': dict(interval=-1, save_last=False),
            'env_cfg.mp_cfg.mp_start_method': multiprocessing.get_start_method(),
            'log_level': 'WARNING',
        }
    )
    runner = build_runner(cfg)
    runner._train_loop = ResumableTrainLoop(runner, OneBatch(batch, turns), max_epochs=1)
    runner.train()


def random_crops(size: int, count: int) -> dict[str, Any]:
    """A batch as the data loader of a pretraining gives it: random teacher crops on the host.

    Args:
        size: Side of the crops in pixels.
        count: Images.

    Returns:
        dict: ``inputs`` (count, 3, size, size) uint8, in page-locked memory where there is a GPU,
        and ``data_samples``.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    if torch.cuda.is_available():
        pixels = pixels.pin_memory()
    samples = [DataSample(metainfo=dict(teacher_box=(0, 0, size, size))) for _ in range(count)]
    return dict(inputs=pixels, data_samples=samples)


def build_moving_optimizer(model: nn.Module, optim_cfg: dict) -> OptimWrapper:
    """The optimizer of a :class:`StudentTeacher`, which moves the teacher after every step."""
    wrapper = build_optim_wrapper(model, optim_cfg)
    wrapper.optimizer.register_step_post_hook(lambda *_: model.update_teacher())
    return wrapper


def in_a_fork(work: Callable, *args) -> Any:
    """What ``work`` returns in a forked process, as a data loader forks its workers."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(work(*args)))
    process.start()
    sender.close()  # so that receiving ends when the process does
    result = receiver.recv()
    process.join()
    return result


def synchronize(device: str) -> None:
    """Wait until the device has done what it was asked to."""
    if device.startswith('cuda'):
        torch.cuda.synchronize(device)


def resident_bytes(field: str) -> int:
    """Resident memory of this process in bytes: ``'VmRSS'`` now, ``'VmHWM'`` at its peak.

    Unlike ``ru_maxrss`` the peak is that of this program, not of the one that started it.
    """
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'/proc/self/status has no {field}')

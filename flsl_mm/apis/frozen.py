"""Runs of frozen tasks on checkpoints: networks, tasks, one table, one JSON file."""

import argparse
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed, is_main_process

from ..evaluation.tasks.frozen_task import FrozenTask
from ..models import FrozenViT, build_vit
from ..registry import FROZEN_TASKS, task_class
from ..utils.devices import plan_no_attention
from ..utils.errors import ConfigError, DataError
from ..utils.files import check_writable, first_line, write_json
from ..utils.tables import comparison_table
from .command_line import end_processes, log_details, named_sources, read_config_file

WAIT = 3600
"""Seconds that processes wait for each other: one of them may read a slow disk alone."""
NUMBERS = int, float, int | None, float | None, int | Sequence[int]


def check_task_numbers(task: Mapping[str, Any]) -> None:
    """Refuse words where a task takes numbers: comparing them would not say which setting it is.

    Args:
        task: Config of one of :data:`~flsl_mm.registry.FROZEN_TASKS`.

    Raises:
        ConfigError: Names the setting and the word.
    """
    cls = FROZEN_TASKS.get(task['type'])
    if cls is None:  # the registry says so when it builds
        return
    for name, parameter in inspect.signature(cls).parameters.items():
        value = task.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        words = [v for v in values if isinstance(v, str)]
        if words and parameter.annotation in NUMBERS:
            raise ConfigError(f'{cls.__name__}: {name} must be a number, got {words[0]!r}')


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name, as ``--device`` has it; None is a GPU where there is one.

    Where a launcher has started several processes, a GPU without a number is the process's own:
    before anything is allocated, or each would take memory of the first GPU too.

    Raises:
        ConfigError: There is none.
    """
    plan_no_attention()
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        local = os.environ.get('LOCAL_RANK', os.environ.get('SLURM_LOCALID', '0'))
        if device.type == 'cuda' and device.index is None and int(local):
            device = torch.device('cuda', int(local) % max(torch.cuda.device_count(), 1))
            torch.cuda.set_device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f'--device {str(name)!r} cannot be used: {first_line(error)}') from error
    return device


def build_networks(
    args: argparse.Namespace, usual_name: Callable[[str], str] = str, **options: Any
) -> dict[str, FrozenViT]:
    """The networks of the command line by name, on the CPU.

    Args:
        args: With what :func:`add_network_arguments` added.
        usual_name: What a checkpoint without a name is called.
        options: More arguments of :func:`build_vit`.

    Raises:
        CheckpointError: One of them cannot be used.
        ConfigError: Two have the same name.
    """
    sources = named_sources(args.checkpoints, usual_name)
    return {
        name: build_vit(source, args.key, args.num_heads, args.trust, args.seed, **options)
        for name, source in sources.items()
    }


def read_tasks(path: str | os.PathLike, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of the tasks of a config, by name.

    A task is a top-level entry such as ``knn = dict(type='BoxKNN', ...)``. Other entries are
    variables; one that is a dict with a type has a name that starts with ``_``.

    Args:
        path: The config file.
        options: Overrides, such as ``{'knn.train_per_class': 20}``.

    Raises:
        FileNotFoundError: There is no such config.
        ConfigError: It has no task, or an override does not fit it.
    """
    cfg = read_config_file(path, options, _known_tasks)
    names = _task_names(cfg)
    if not names:
        raise ConfigError(f"{path} has no frozen task, such as knn = dict(type='BoxKNN')")
    return {name: entry for name, entry in cfg.to_dict().items() if name in names}


def _task_names(cfg: Config) -> set[str]:
    return {
        name
        for name, entry in cfg.items()
        if isinstance(entry, dict) and 'type' in entry and not name.startswith('_')
    }


def _known_tasks(cfg: Config) -> set[str]:
    """The entries that are tasks.

    Raises:
        ConfigError: One is of another type, as in the config of a run.
    """
    names = _task_names(cfg)
    for name in sorted(names):
        task_class(cfg[name]['type'])
    return names


def build_task(settings: Mapping[str, Any]) -> FrozenTask:
    """A task from settings that a user has given.

    Args:
        settings: Config of one of :data:`~flsl_mm.registry.FROZEN_TASKS`.

    Raises:
        ConfigError: A setting does not exist or is out of range.
        FileNotFoundError: There are no data.
    """
    check_task_numbers(settings)
    return FROZEN_TASKS.build(settings)


def check_folders(tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Stop before any network is read where the data of a task are not there.

    Args:
        tasks: Settings of the tasks, by name.

    Raises:
        DataError: Names every task without its folder, and the setting that names it.
    """
    missing = [
        f'{name}.data_root={task["data_root"]}'
        for name, task in tasks.items()
        if isinstance(task.get('data_root'), str) and not os.path.exists(task['data_root'])
    ]
    if missing:
        raise DataError(
            f'no such folder: {", ".join(missing)}; name others with --cfg-options, or leave the '
            'task out'
        )


def evaluate_frozen(args: argparse.Namespace) -> None:
    """Evaluate checkpoints on the tasks of a config; print one table and write the numbers.

    Everything that can be wrong with arguments, data and checkpoints is found before anything is
    computed. The JSON file, ``{"settings": ..., "results": {checkpoint: {task: numbers}}}``, is
    written after every task, and the table is printed also after an error, so that what was
    computed is not lost.

    Args:
        args: Those of ``tools/eval_frozen.py``; those of the tasks are added as ``tasks``.
    """
    args.device = usable_device(args.device)
    args.out = args.out or f'work_dirs/{Path(args.config).stem}.json'
    args.tasks = read_tasks(args.config, args.cfg_options)
    start_processes(args)
    if is_main_process():
        check_writable(args.out)
    log_details(Path(args.out).with_suffix('.log'))
    networks = build_networks(args, with_head=True)  # before the data: to index ImageNet takes long
    tasks = {name: build_task(settings) for name, settings in args.tasks.items()}
    results: dict[str, dict[str, Any]] = {}

    def keep(found: dict[str, dict[str, Any]]) -> None:
        results.update({name: numbers for name, numbers in found.items() if numbers})
        write_results(results, args)

    try:
        run_tasks(tasks, networks, args.device, keep)
    finally:
        if results and is_main_process():
            print(comparison_table(results))
    if is_main_process():
        print(f'written to {args.out}')
    end_processes(args)


def start_processes(args: argparse.Namespace) -> None:
    """Join the processes of ``--launcher``; each takes a GPU of its own, or gloo without any.

    Args:
        args: What :func:`~flsl_mm.apis.command_line.add_launcher_arguments` has read, and the
            ``device``, which changes.
    """
    if args.launcher == 'none' or is_distributed():
        return
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if torch.cuda.is_available() and args.device.type == 'cuda':
        init_dist(args.launcher, timeout=WAIT)
        args.device = torch.device('cuda', torch.cuda.current_device())
    elif args.launcher == 'pytorch':  # mmengine's way needs a GPU
        torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=WAIT))
    else:
        init_dist(args.launcher, backend='gloo', timeout=WAIT)


def run_tasks(
    tasks: Mapping[str, FrozenTask],
    networks: Mapping[str, FrozenViT],
    device: torch.device | str | None,
    finished: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Evaluate every network on every task.

    Args:
        tasks: The tasks by name.
        networks: Frozen networks by name, each moved to the device for its evaluation only.
        device: Where to evaluate.
        finished: Called after every task with the results so far.

    Returns:
        dict: ``{network: {task: numbers}}``; ``tokens`` among the numbers says in words which
        tokens the network's blocks see, ``data`` how many images they are of.
    """
    device = usable_device(device)
    results: dict[str, dict[str, Any]] = {name: {} for name in networks}
    for name, vit in networks.items():
        home = next(vit.parameters()).device
        vit.to(device)
        for title, task in tasks.items():
            start = time.perf_counter()
            numbers = dict(task(vit), tokens=vit.sequence)
            if data := task.describe_data(numbers):
                numbers['data'] = data
            results[name][title] = numbers
            if is_main_process():
                seconds = time.perf_counter() - start
                print(f'{name}: {title} took {seconds:.0f} s', file=sys.stderr, flush=True)
            finished(results)
        vit.to(home)
    return results


def write_results(results: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Write the JSON file of a command, in the main process."""
    if not is_main_process():
        return
    settings = {name: value for name, value in vars(args).items() if name != 'local_rank'}
    content = dict(settings=dict(settings, device=str(args.device)), results=results)
    write_json(args.out, content)

"""Runs of frozen tasks on checkpoints: arguments, networks, tasks, one table, one JSON file."""

import argparse
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed, is_main_process

from ..datasets.find_labeled_images import find_labeled_images
from ..evaluation.tasks.frozen_task import FrozenTask
from ..models import FrozenViT, build_vit
from ..registry import FROZEN_TASKS
from ..utils.errors import ConfigError
from ..utils.files import check_writable, write_json
from ..utils.tables import comparison_table
from .command_line import end_processes, run_command

NUMBERS = int, float, int | None, float | None, Sequence[int], Sequence[float]


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

    Raises:
        ConfigError: There is none.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f'--device {str(name)!r} cannot be used: {reason}') from error
    return device


def build_network(checkpoint: str, args: argparse.Namespace) -> FrozenViT:
    """The frozen network of a checkpoint, on the device of the command line.

    Args:
        checkpoint: One of those of the command line.
        args: With what :func:`add_network_arguments` added.

    Raises:
        CheckpointError: It cannot be used.
    """
    vit = build_vit(checkpoint, args.key, args.num_heads, args.trust, args.seed)
    return vit.to(usable_device(args.device))


def build_task(args: argparse.Namespace, task_type: str, **settings: Any) -> FrozenTask:
    """The task of a config, ``--cfg-options`` and settings, the later winning over the earlier.

    Args:
        args: With what :func:`add_task_arguments` added.
        task_type: Its type, where the config does not say another.
        settings: What other arguments say.

    Raises:
        ConfigError: The config has no ``task``, or a setting does not exist or is out of range.
        FileNotFoundError: There is no such config, or no data.
    """
    task = dict(type=task_type)
    if args.config:
        config = Config.fromfile(args.config)
        if 'task' not in config:
            raise ConfigError(f'{args.config} has no `task = dict(type={task_type!r}, ...)`')
        task.update(config.task)
    task.update(settings, **args.cfg_options)
    return build_from_settings(task)


def build_from_settings(task: Mapping[str, Any]) -> FrozenTask:
    """A task from settings that a user has given.

    Args:
        task: Config of one of :data:`~flsl_mm.registry.FROZEN_TASKS`.

    Raises:
        ConfigError: A setting does not exist or is out of range.
        FileNotFoundError: There are no data.
    """
    check_task_numbers(task)
    return FROZEN_TASKS.build(task)


def read_labeled_images(data: str, **options: Any) -> tuple[dict | None, dict]:
    """The labelled images that a user names, for :class:`DenseSuite`.

    Args:
        data: Folder for :func:`find_labeled_images`, or config with ``val`` and perhaps ``train``.
        options: See there; a config says them itself.

    Returns:
        tuple: Configs of the images to retrieve from, if there are any, and of those to evaluate.

    Raises:
        FileNotFoundError: There is no such folder.
        ConfigError: It is in no known layout, or the file is no such config.
    """
    if not os.path.isfile(data):
        return find_labeled_images(data, **options)
    if not data.endswith('.py'):
        raise ConfigError(f'{data} is neither a folder nor a config (.py)')
    cfg = Config.fromfile(data).to_dict()
    if 'val' not in cfg:
        raise ConfigError(f'{data} has no val')
    return cfg.get('train'), cfg['val']


def run_frozen_command(
    parser: argparse.ArgumentParser,
    build_tasks: Callable[[argparse.Namespace], Sequence[FrozenTask]],
    arguments: Sequence[str] | None = None,
    report: Callable[[dict[str, dict[str, Any]]], str] = comparison_table,
) -> int:
    """Evaluate checkpoints on tasks; print one table and write the numbers.

    Everything that can be wrong with arguments, data and checkpoints is found before anything is
    computed. The JSON file, ``{"settings": ..., "results": {checkpoint: {task: numbers}}}``, is
    written after every task, and the table is printed also after an error, so that what was
    computed is not lost.

    Args:
        parser: From :func:`frozen_parser`, and the tool's own arguments.
        build_tasks: Builds the tasks from the parsed arguments.
        arguments: Command line; that of the process by default.
        report: Turns the results into the text to print.

    Returns:
        int: The exit code of the process.
    """
    args = parser.parse_args(arguments)

    def command() -> None:
        args.device = usable_device(args.device)
        start_processes(args)
        networks = build_networks(args)  # before the data: to index ImageNet takes minutes
        tasks = build_tasks(args)
        if is_main_process():
            check_writable(args.out)
        results: dict[str, dict[str, Any]] = {}

        def keep(found: dict[str, dict[str, Any]]) -> None:
            results.update({name: numbers for name, numbers in found.items() if numbers})
            write_results(results, args)

        try:
            run_tasks(tasks, networks, args.device, keep)
        finally:
            if results and is_main_process():
                print(report(results))
        if is_main_process():
            print(f'written to {args.out}')
        end_processes(args)

    return run_command(parser.prog, command)


def start_processes(args: argparse.Namespace) -> None:
    """Join the processes of ``--launcher``; each takes a GPU of its own, or gloo without any."""
    if args.launcher == 'none' or is_distributed():
        return
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if torch.cuda.is_available() and args.device.type == 'cuda':
        init_dist(args.launcher)
        args.device = torch.device('cuda', torch.cuda.current_device())
    elif args.launcher == 'pytorch':
        torch.distributed.init_process_group('gloo')  # mmengine's way needs a GPU
    else:
        init_dist(args.launcher, backend='gloo')


def build_networks(args: argparse.Namespace) -> dict[str, FrozenViT]:
    """The networks of all checkpoints by name, on the CPU, with their projection heads.

    Raises:
        CheckpointError: One of them cannot be used.
    """
    return {
        checkpoint: build_vit(
            checkpoint, args.key, args.num_heads, args.trust, args.seed, with_head=True
        )
        for checkpoint in args.checkpoints
    }


def run_tasks(
    tasks: Sequence[FrozenTask],
    networks: Mapping[str, FrozenViT],
    device: torch.device | str | None,
    finished: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Evaluate every network on every task.

    Args:
        tasks: The tasks.
        networks: Frozen networks by name, each moved to the device for its evaluation only.
        device: Where to evaluate.
        finished: Called after every task with the results so far.

    Returns:
        dict: ``{network: {task.name: numbers}}``.
    """
    device = usable_device(device)
    results: dict[str, dict[str, Any]] = {name: {} for name in networks}
    for name, vit in networks.items():
        home = next(vit.parameters()).device
        vit.to(device)
        for task in tasks:
            start = time.perf_counter()
            results[name][task.name] = task(vit)
            if is_main_process():
                seconds = time.perf_counter() - start
                print(f'{name}: {task.name} took {seconds:.0f} s', file=sys.stderr, flush=True)
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

"""A run in a few lines, at its start and at its end."""

from pathlib import Path

import torch
from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ...utils.files import short_path
from ...utils.modules import unwrap_model


def describe_start(runner: Runner) -> list[str]:
    """What is trained and for how long, before the first iteration.

    Args:
        runner: Its model, data and optimizer built.

    Returns:
        list[str]: Lines for the log.
    """
    model = unwrap_model(runner.model)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    first = next(model.parameters())
    device = torch.cuda.get_device_name(first.device) if first.is_cuda else 'the CPU'
    processes = get_world_size()
    where = f'on {device}' + (f', {processes} processes' if processes > 1 else '')
    lines = [f'{type(model).__name__}: {parameters / 1e6:.3g} million parameters to train, {where}']
    loader = runner.train_dataloader
    images = ''
    if isinstance(loader, DataLoader) and loader.batch_size:
        images = f' of {loader.batch_size * processes} images'
    rates = sorted({group['initial_lr'] for group in _groups(runner) if 'initial_lr' in group})
    peak = f'; learning rate up to {rates[-1]:.3g}' if rates else ''
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        length = f'{runner.max_epochs} epochs of {len(loader)} iterations{images}'
    else:
        length = f'{runner.max_iters} iterations{images}'
    return [*lines, length + peak]


def _groups(runner: Runner) -> list[dict]:
    return getattr(runner.optim_wrapper, 'param_groups', None) or []


def describe_end(runner: Runner) -> str:
    """Where a run has left its checkpoint, its curves and its pictures.

    Args:
        runner: Trained.

    Returns:
        str: One line; of files that are there.
    """
    parts = []
    if last := runner.message_hub.runtime_info.get('last_ckpt'):
        parts.append(f'checkpoint {short_path(last)}')
    folder = Path(runner.log_dir, 'vis_data')
    if (numbers := folder / 'scalars.json').is_file():
        curves = f'curves {short_path(numbers)}'
        if any(folder.glob('events.*')):
            curves += f' (or tensorboard --logdir {short_path(runner.work_dir)})'
        parts.append(curves)
    if any((pictures := folder / 'vis_image').glob('*')):
        parts.append(f'pictures {short_path(pictures)}')
    return 'done: ' + ('; '.join(parts) or f'nothing is saved in {short_path(runner.work_dir)}')

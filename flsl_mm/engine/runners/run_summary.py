"""A run in a few lines, at its start and at its end."""

from pathlib import Path

import torch
from mmengine.dist import get_world_size
from mmengine.optim.scheduler import LinearParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ...models.selfsup.student_teacher import StudentTeacher
from ...utils.counts import counted
from ...utils.files import short_path
from ...utils.modules import unwrap_model
from ...utils.progress import about_length


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
    where = f'on {device}' + (f', {counted(processes, "process")}' if processes > 1 else '')
    lines = [f'{type(model).__name__}: {parameters / 1e6:.3g} million parameters to train, {where}']
    loader = runner.train_dataloader
    images = ''
    if isinstance(loader, DataLoader) and loader.batch_size:
        images = f' of {counted(loader.batch_size * processes, "image")}'
    rates = sorted({group['initial_lr'] for group in _groups(runner) if 'initial_lr' in group})
    peak = f'; learning rate up to {rates[-1]:.3g}' if rates else ''
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        steps = counted(len(loader), 'iteration')
        length = f'{counted(runner.max_epochs, "epoch")} of {steps}{images}'
    else:
        length = f'{counted(runner.max_iters, "iteration")}{images}'
    return [*lines, length + peak, *filter(None, [endless_warmup(runner)])]


def endless_warmup(runner: Runner) -> str | None:
    """What to say of a warm-up by iterations that is longer than the run, as few images have it."""
    schedulers = runner.param_schedulers
    warmup = max(
        (
            scheduler.end
            for scheduler in (schedulers if isinstance(schedulers, list) else ())
            if isinstance(scheduler, LinearParamScheduler)
            and not scheduler.by_epoch
            and scheduler.start_factor < scheduler.end_factor
        ),
        default=0,
    )
    if warmup <= runner.max_iters:
        return None
    return (
        f'the learning rate rises over {warmup} iterations and the run has {runner.max_iters}: it '
        f'does not get there; a shorter warm-up is warmup_iters={max(1, runner.max_iters // 10)}'
    )


def _groups(runner: Runner) -> list[dict]:
    return getattr(runner.optim_wrapper, 'param_groups', None) or []


def describe_end(runner: Runner) -> list[str]:
    """Where a run has left its checkpoint, its curves and its pictures.

    Args:
        runner: Trained.

    Returns:
        list[str]: The last line, of files that are there; one before it where a pretraining was so
        short that nothing can be said of it yet.
    """
    pretraining = isinstance(unwrap_model(runner.model), StudentTeacher)
    short = about_length(runner.iter) if pretraining else None
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
    done = '; '.join(parts) or f'nothing is saved in {short_path(runner.work_dir)}'
    return [*filter(None, [short]), f'done: {done}']

"""Schedules: one mechanism for every value that changes during pretraining."""

import math
from functools import reduce
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ...utils.errors import ConfigError
from ...utils.modules import unwrap_model

KINDS = ('cosine', 'linear', 'step')


def scheduled_value(kind: str, start: float, end: float, progress: float) -> float:
    """Value of a schedule.

    Args:
        kind: ``'cosine'`` and ``'linear'`` go from ``start`` to ``end``; ``'step'`` is ``start``
            until ``progress`` reaches 1 and ``end`` from then on.
        start: Value at progress 0.
        end: Value at progress 1 and after.
        progress: Elapsed share of the schedule, at least 0.

    Returns:
        float: The value.

    Raises:
        ConfigError: The kind is unknown.
    """
    if kind not in KINDS:
        raise ConfigError(f'unknown schedule type {kind!r}, known: {KINDS}')
    if progress >= 1:
        return end
    if kind == 'step':
        return start
    if kind == 'linear':
        return start + (end - start) * progress
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * progress))


WEIGHT_DECAY = 'optimizer.weight_decay'


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Set attributes of the model, or the weight decay, before every iteration, and log them.

    Args:
        schedules: For each name in the log None, which is none, or a dict with the keys

            - **target** (str): a dotted path from the model, through attributes and dict keys
              (``'momentum'``, ``'head.teacher_temp'``, ``'head.loss_weights.intra'``), or
              ``'optimizer.weight_decay'``, which leaves groups without weight decay alone;
            - **type** (str): ``'cosine'``, ``'linear'`` or ``'step'``;
            - **start**, **end** (float): values at its two ends;
            - **epochs** (float, optional): its length; the whole run by default;
            - **share** (float, optional): its length is at most this share of the run.

    Raises:
        ConfigError: A schedule has an unknown type or key, lacks one, or its target does not exist.

    Example:
        >>> ScheduleHook(momentum=dict(target='momentum', type='cosine', start=0.996, end=1.0))
    """

    # After the runtime info of the iteration, before hooks that read the values.
    priority = 'ABOVE_NORMAL'

    def __init__(self, **schedules: dict | None) -> None:
        schedules = {name: found for name, found in schedules.items() if found is not None}
        required, optional = {'target', 'type', 'start', 'end'}, {'epochs', 'share'}
        for name, schedule in schedules.items():
            if not (isinstance(schedule, dict) and required <= {*schedule} <= required | optional):
                raise ConfigError(
                    f'ScheduleHook: {name} needs {sorted(required)} and may have '
                    f'{sorted(optional)}, got {schedule}'
                )
            if schedule['type'] not in KINDS:
                raise ConfigError(
                    f'ScheduleHook: type {schedule["type"]!r} of {name} is not in {KINDS}'
                )
        self.schedules = schedules

    def before_train(self, runner: Runner) -> None:
        """Check every target before the first iteration; warn of values that do not count."""
        model = unwrap_model(runner.model)
        for name, schedule in self.schedules.items():
            target, start = schedule['target'], schedule['start']
            if target != WEIGHT_DECAY and (found := get_by_path(model, target)) != start:
                runner.logger.warning(
                    f'model.{target}={found} does not count: its schedule starts at {start} '
                    f'(default_hooks.schedule.{name})'
                )
            self._apply(runner, **schedule)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set and log every value."""
        for name, schedule in self.schedules.items():
            value = self._apply(runner, **schedule)
            runner.message_hub.update_scalar(f'train/{name}', float(value))

    @staticmethod
    def _apply(
        runner: Runner,
        target: str,
        type: str,
        start: float,
        end: float,
        epochs: float | None = None,
        share: float = 1.0,
    ) -> float:
        """Set the value of the current iteration, and return it."""
        total = share * runner.max_iters
        if epochs is not None:
            total = min(total, epochs * len(runner.train_dataloader))
        value = scheduled_value(type, start, end, runner.iter / total if total else 1.0)
        if target == WEIGHT_DECAY:
            groups = runner.optim_wrapper.optimizer.param_groups
            if not any('decayed' in group for group in groups):
                raise ConfigError(
                    'ScheduleHook: a schedule of the weight decay needs '
                    "optim_wrapper.constructor='TwoGroupConstructor', which tells the groups apart"
                )
            for group in groups:
                if group['decayed']:
                    group['weight_decay'] = value
        else:
            set_by_path(unwrap_model(runner.model), target, value)
        return value


def get_by_path(root: Any, path: str) -> Any:
    """What a dotted path through attributes and dict keys points to.

    Args:
        root: Where the path starts.
        path: Such as ``'head.loss_weights.intra'``.

    Raises:
        ConfigError: There is nothing at the path.
    """
    try:
        return reduce(_step, path.split('.'), root)
    except (AttributeError, KeyError):
        raise ConfigError(f'{type(root).__name__} has nothing at {path!r} to schedule') from None


def set_by_path(root: Any, path: str, value: float | bool) -> None:
    """Set what a dotted path points to; arguments as for :func:`get_by_path`."""
    *parents, last = path.split('.')
    owner = reduce(_step, parents, root)
    if isinstance(owner, dict):
        owner[last] = value
    else:
        setattr(owner, last, value)


def _step(owner: Any, name: str) -> Any:
    return owner[name] if isinstance(owner, dict) else getattr(owner, name)

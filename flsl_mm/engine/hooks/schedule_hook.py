"""One mechanism for every value that changes during pretraining."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..schedules import KINDS, scheduled_value


@HOOKS.register_module()
class ScheduleHook(Hook):
    """Set attributes of the model, or the weight decay, before every iteration, and log them.

    Args:
        schedules: A list of dicts with the keys

            - **target** (str): a dotted path from the model, through attributes and dict keys
              (``'momentum'``, ``'head.teacher_temp'``, ``'head.loss_weights.intra'``), or
              ``'optimizer.weight_decay'``, which leaves groups without weight decay alone;
            - **type** (str): ``'cosine'``, ``'linear'`` or ``'step'``;
            - **start**, **end** (float): values at its two ends;
            - **epochs** (float, optional): its length; the whole run by default.

    Raises:
        ValueError: A schedule has an unknown type or key, lacks one, or its target does not exist.
    """

    # After the runtime info of the iteration, before hooks that read the values.
    priority = 'ABOVE_NORMAL'

    def __init__(self, schedules: Sequence[dict]) -> None:
        for schedule in schedules:
            required, optional = {'target', 'type', 'start', 'end'}, {'epochs'}
            if not required <= set(schedule) <= required | optional:
                raise ValueError(
                    f'ScheduleHook: a schedule needs {sorted(required)} and may have '
                    f'{sorted(optional)}, got {dict(schedule)}'
                )
            if schedule['type'] not in KINDS:
                raise ValueError(f'ScheduleHook: type of {dict(schedule)} is none of {KINDS}')
        self.schedules = [dict(schedule) for schedule in schedules]

    def before_train(self, runner: Runner) -> None:
        """Check every target before the first iteration."""
        for schedule in self.schedules:
            self._apply(runner, schedule)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set and log every value."""
        for schedule in self.schedules:
            name, value = self._apply(runner, schedule)
            runner.message_hub.update_scalar(f'train/{name}', float(value))

    def _apply(self, runner: Runner, schedule: dict) -> tuple[str, float]:
        total = runner.max_iters
        if 'epochs' in schedule:
            total = schedule['epochs'] * len(runner.train_dataloader)
        progress = runner.iter / total if total else 1.0
        value = scheduled_value(schedule['type'], schedule['start'], schedule['end'], progress)
        owner, _, name = schedule['target'].partition('.')
        if owner == 'optimizer':
            if name != 'weight_decay':
                raise ValueError(f'ScheduleHook: cannot schedule {schedule["target"]!r}')
            for group in runner.optim_wrapper.optimizer.param_groups:
                if group.get('decayed', group['weight_decay'] != 0):
                    group['weight_decay'] = value
        else:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            set_by_path(model, schedule['target'], value)
        return name or owner, value


def set_by_path(root: Any, path: str, value: float | bool) -> None:
    """Set what a dotted path through attributes and dict keys points to.

    Args:
        root: Where the path starts.
        path: Such as ``'head.loss_weights.intra'``.
        value: The new value.

    Raises:
        ValueError: There is nothing at the path.
    """
    *parents, last = path.split('.')
    try:
        owner = reduce(_step, parents, root)
        _step(owner, last)
    except (AttributeError, KeyError):
        raise ValueError(f'{type(root).__name__} has nothing at {path!r} to schedule') from None
    if isinstance(owner, dict):
        owner[last] = value
    else:
        setattr(owner, last, value)


def _step(owner: Any, name: str) -> Any:
    return owner[name] if isinstance(owner, dict) else getattr(owner, name)

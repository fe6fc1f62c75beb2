"""Learning rate: linear warm-up, then cosine."""

import math

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmpretrain.registry import PARAM_SCHEDULERS

from ...utils.errors import ConfigError


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """``base * (t + 1) / W`` during W warm-up iterations, then a cosine to ``eta_min``.

    The value at iteration t depends on t and the length of the run alone, so a run of any length
    (also one shorter than its warm-up) needs no other setting, and resuming cannot drift.

    Args:
        optimizer: Optimizer wrapper; each group's ``lr`` is its base.
        warmup: Iterations W of warm-up; when built by a Runner, given in epochs.
        warmup_share: W is at most this share of the run, so that a short one is not all warm-up.
        eta_min: Learning rate at the end, not scaled by the batch size.
        begin: Must be 0.
        end: Iterations of the run; the Runner fills it in.
        last_step: As in mmengine.
        by_epoch: Must be ``False`` once built; configs say ``by_epoch=True,
            convert_to_iter_based=True``.
        verbose: As in mmengine.

    Raises:
        ConfigError: ``warmup_share`` is not in [0, 1].
    """

    def __init__(
        self,
        optimizer,
        warmup: int,
        eta_min: float = 0.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = False,
        verbose: bool = False,
        warmup_share: float | None = None,
    ) -> None:
        if warmup_share is not None and not 0 <= warmup_share <= 1:
            raise ConfigError(f'WarmupCosineLR: warmup_share must be in [0, 1], got {warmup_share}')
        self.warmup = warmup
        if warmup_share is not None:
            self.warmup = min(warmup, round(warmup_share * end))
        self.eta_min = eta_min
        super().__init__(
            optimizer,
            begin=begin,
            end=end,
            last_step=last_step,
            by_epoch=by_epoch,
            verbose=verbose,
        )

    @classmethod
    def build_iter_from_epoch(
        cls, *args, warmup: int, end: int, epoch_length: int, begin: int = 0, **kwargs
    ) -> 'WarmupCosineLR':
        """Build from a config in epochs (``convert_to_iter_based=True``)."""
        kwargs['by_epoch'] = False
        return cls(
            *args, warmup=warmup * epoch_length, begin=begin, end=end * epoch_length, **kwargs
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """Resume the step; everything else stays as the config has it."""
        self.move_to(state_dict['last_step'])

    def move_to(self, step: int) -> None:
        """Continue at iteration ``step``, and set the learning rate that belongs to it."""
        self.last_step = self._global_step = step
        self._last_value = self._get_value()
        for group, value in zip(self.optimizer.param_groups, self._last_value):
            group[self.param_name] = value

    def _get_value(self) -> list[float]:
        return [self.value_at(self.last_step, base) for base in self.base_values]

    def value_at(self, step: int, base: float) -> float:
        """Learning rate at iteration ``step`` (from 0) for a base learning rate."""
        if step < self.warmup:
            return base * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.end - self.warmup))
        return self.eta_min + 0.5 * (base - self.eta_min) * (1 + math.cos(math.pi * progress))

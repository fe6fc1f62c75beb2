"""Values that change during training, as pure functions of progress."""

import math

from ..config_error import ConfigError

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

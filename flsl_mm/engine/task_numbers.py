"""A check of the numbers among the settings of a frozen task."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ..data_error import DataError
from ..registry import FROZEN_TASKS

NUMBERS = int, float, int | None, float | None, Sequence[int], Sequence[float]


def check_task_numbers(task: Mapping[str, Any]) -> None:
    """Refuse words where a task takes numbers: comparing them would not say which setting it is.

    Args:
        task: Config of one of :data:`~flsl_mm.registry.FROZEN_TASKS`.

    Raises:
        DataError: Names the setting and the word.
    """
    cls = FROZEN_TASKS.get(task['type'])
    if cls is None:  # the registry says so when it builds
        return
    for name, parameter in inspect.signature(cls).parameters.items():
        value = task.get(name)
        values = value if isinstance(value, list | tuple) else [value]
        words = [v for v in values if isinstance(v, str)]
        if words and parameter.annotation in NUMBERS:
            raise DataError(f'{cls.__name__}: {name} must be a number, got {words[0]!r}')

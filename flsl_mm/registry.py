"""The one registry of this project's own; everything else is in OpenMMLab's."""

import inspect
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

from .utils.errors import ConfigError


def _build_task(cfg: Mapping[str, Any], registry: Registry, **kwargs: Any) -> Any:
    """Build without switching to the default scope, whose registries hold no frozen tasks.

    mmengine's own way would first look there, and warn.

    Raises:
        ConfigError: There is no such task, or it has no such setting.
    """
    args = {**kwargs, **cfg}
    task = task_class(args.pop('type', None), registry)
    try:  # what the task itself may raise is no matter of its settings
        inspect.signature(task).bind(**args)
    except TypeError as error:
        raise ConfigError(f'{task.__name__}: {error}') from None
    return task(**args)


# Frozen-feature evaluations: a task is built from its config and called with a frozen
# `FrozenViT`; it returns a dict of numbers. Hooks and tools name them by config.
FROZEN_TASKS = Registry(
    'frozen task', scope='flsl_mm', locations=['flsl_mm.evaluation.tasks'], build_func=_build_task
)


def task_class(kind: Any, registry: Registry = FROZEN_TASKS) -> Any:
    """The class of a frozen task's ``type``.

    Raises:
        ConfigError: There is no such task.
    """
    task = registry.get(kind) if isinstance(kind, str) else kind
    if task is None:
        known = ', '.join(sorted(registry.module_dict))
        raise ConfigError(f'there is no frozen task of type {kind!r}; known: {known}')
    return task

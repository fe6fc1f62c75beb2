"""Entries of a config that nothing reads: refused, by the signatures of their readers."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS, LOG_PROCESSORS, LOOPS, OPTIMIZERS, Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from ...utils.errors import ConfigError

# What the settings that are no classes are read by: functions, or the names that mmengine gets.
READERS: dict[str, tuple[Callable | str, ...]] = {
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': (set_multi_processing,),
    'env_cfg.dist_cfg': (init_dist, torch.distributed.init_process_group, 'port'),
    'randomness': (Runner.set_randomness,),
}
# Settings that name their class: of which registry, and what is read beside its arguments.
CLASSES: dict[str, tuple[Registry, tuple[str, ...]]] = {
    'default_hooks.*': (HOOKS, ('priority',)),
    'custom_hooks.*': (HOOKS, ('priority',)),
    'train_cfg': (LOOPS, ('by_epoch',)),
    'val_cfg': (LOOPS, ()),
    'test_cfg': (LOOPS, ()),
    'optim_wrapper.optimizer': (OPTIMIZERS, ()),
    'log_processor': (LOG_PROCESSORS, ()),
}


def check_entries(cfg: Config) -> None:
    """Refuse settings of a run that nothing reads, such as misspelt ones.

    Args:
        cfg: Config of a run, its custom imports done.

    Raises:
        ConfigError: Names the entry, and the nearest that there is.
    """
    for path, readers in READERS.items():
        for name, setting in _settings_at(cfg, path):
            known = [n for r in readers for n in ([r] if isinstance(r, str) else _arguments(r))]
            _refuse_unknown(name, setting, known)
    for path, (registry, more) in CLASSES.items():
        for name, setting in _settings_at(cfg, path):
            if path == 'default_hooks.*' and 'type' not in setting:
                raise ConfigError(f'{name} has no type{_nearest(name, _typed(cfg))}')
            with registry.switch_scope_and_registry(cfg.get('default_scope')) as scoped:
                # mmengine's default for the one setting that needs no type
                kind = setting.get('type', 'LogProcessor' if path == 'log_processor' else None)
                kind = scoped.get(kind) if isinstance(kind, str) else kind
            known = _arguments_of_class(kind) if inspect.isclass(kind) else None
            if known is not None:  # otherwise building it will tell
                _refuse_unknown(name, setting, [*known, *more])


def _settings_at(cfg: Config, path: str) -> Iterator[tuple[str, dict]]:
    """Name and dict of each setting at a path, whose last part may be ``*``."""
    value: Any = cfg
    path, every, _ = path.partition('.*')
    for key in path.split('.'):
        value = value.get(key) if isinstance(value, (dict, Config)) else None
    if not every:
        found: Iterable = [(path, value)]
    else:
        pairs = value.items() if isinstance(value, dict) else enumerate(value or ())
        found = ((f'{path}.{key}', item) for key, item in pairs)
    yield from ((name, item) for name, item in found if isinstance(item, dict))


def _typed(cfg: Config) -> list[str]:
    return [name for name, hook in _settings_at(cfg, 'default_hooks.*') if 'type' in hook]


def _arguments(function: Callable) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _arguments_of_class(kind: type) -> list[str] | None:
    """Names that a class takes; what it passes on is followed to its bases. None: any name."""
    found: list[str] = []
    for base in kind.__mro__:
        if '__init__' not in vars(base) or base is object:
            continue
        found += _arguments(base.__init__)
        parameters = inspect.signature(base.__init__).parameters.values()
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found
        if base is CheckpointHook:  # passes on what it does not know itself
            return found + _arguments(Runner.save_checkpoint)
    return None


def _refuse_unknown(name: str, setting: dict, known: Iterable[str]) -> None:
    known = set(known) - {'self', 'runner'}
    for key in setting:
        if key not in known and key not in ('type', '_scope_'):
            raise ConfigError(f'{name}.{key} is read by nothing{_nearest(key, known)}')


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    return f'; is it {near[0]}?' if near else ''

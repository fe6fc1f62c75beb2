"""Entries of a config that nothing reads: refused, by the signatures of their readers.

A dict with a ``type`` is read by the class of that name: by the arguments of its constructor, and
of its bases where it passes on what it does not know. A dict without one is read by the functions
of :data:`READERS`, or by name somewhere in the packages of the classes around it (mmdet's
``test_cfg.rcnn.score_thr``, mmengine's ``paramwise_cfg.custom_keys.*.lr_mult``). A top-level entry
is read by a run, or by the config files themselves, as a variable.
"""

import inspect
import os.path as osp
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import mmengine.registry
import torch
from mmengine.config import Config
from mmengine.dist import init_dist
from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from ..utils.errors import ConfigError
from .variables import assigned_names, names_used, read_files, run_entries

# What the settings that are no classes are read by: functions, or the names that mmengine gets.
READERS: dict[str, tuple[Callable | str, ...]] = {
    r'auto_scale_lr': ('enable', 'base_batch_size'),
    r'env_cfg': (
        'cudnn_benchmark',
        'mp_cfg',
        'dist_cfg',
        'resource_limit',
        'allow_tf32',
    ),
    r'env_cfg\.mp_cfg': (set_multi_processing,),
    r'env_cfg\.dist_cfg': (init_dist, torch.distributed.init_process_group, 'port'),
    r'randomness': (Runner.set_randomness,),
    r'compile': (torch.compile,),
    r'.*optim_wrapper\.(.*\.)?clip_grad': (clip_grad_norm_, clip_grad_value_, 'type'),
    r'(train|val|test)_dataloader': (
        DataLoader.__init__,
        *('dataset', 'num_batch_per_epoch', 'batch_sampler', 'sampler', 'collate_fn'),
    ),
    r'model\.(.*\.)?nms': (
        *('type', 'iou_threshold', 'iou_thr', 'offset', 'score_threshold', 'max_num', 'sigma'),
        *('min_score', 'method', 'class_agnostic', 'split_thr'),
    ),
}
# Settings without a type, where there is a default.
DEFAULT_TYPES = dict(
    optim_wrapper='OptimWrapper',
    log_processor='LogProcessor',
    val_cfg='ValLoop',
    test_cfg='TestLoop',
)
# Beside the arguments of a registry's classes, what those read who build them.
BUILDERS = {
    'hook': ('priority',),
    'loop': ('by_epoch',),
    'parameter scheduler': ('convert_to_iter_based',),
    'optim_wrapper': ('optimizer', 'constructor', 'paramwise_cfg', 'type'),
    'weight initializer': ('override', 'layer', 'name'),
    'model': ('requires_grad',),
    'transform': ('magnitude_key', 'magnitude_range'),  # of automatic augmentation
}
REGISTRIES = [
    registry
    for registry in vars(mmengine.registry).values()
    if isinstance(registry, Registry) and registry.name not in ('runner', 'inferencer')
]
META = ('classes', 'palette')
# mmdet's configs have it everywhere, and none of its classes reads it any more.
UNREAD_BY_MMDET = 'debug'
# Arguments whose names are free, or those of somebody else's function.
FREE = re.compile(
    r'(.*\.)?(metainfo\..+|backend_args|file_client_args|init_kwargs|label_map|mapping|custom_keys|'
    r'keymap|(frozen_layers|generation|encoder|decoder)_cfg|(med_)?config|lang_encoder|'
    r'caption_prompt|_.*)'
)


def check_entries(cfg: Config) -> None:
    """Refuse settings of a run that nothing reads, such as misspelt ones.

    Args:
        cfg: Config of a run, its custom imports done.

    Raises:
        ConfigError: Names the entry, and the nearest that there is.
    """
    check_names(cfg)
    hooks = cfg.get('default_hooks') or {}
    typed = [f'default_hooks.{k}' for k, hook in hooks.items() if hook and 'type' in hook]
    for name, hook in hooks.items():
        if isinstance(hook, dict) and 'type' not in hook:
            name = f'default_hooks.{name}'
            raise ConfigError(f'{name} has no type{_nearest(name, typed)}')
    for name in sorted(run_entries() & set(cfg)):
        settings = list(_settings_in(name, cfg[name], cfg.get('default_scope')))
        # With mmcv's operators, to which others pass settings on.
        modules = _modules({kind for _, _, kinds, _ in settings for kind in kinds}) | {'mmcv.ops'}
        for path, setting, kinds, owner in settings:
            names, more = _names_read(path, setting, kinds, owner)
            for key in sorted(set(setting) - names - {'type', '_scope_'}):
                if more and _is_read(key, modules):
                    others = () if kinds else set(setting) - {key}
                    _refuse_twin(path, key, [o for o in others if _is_read(str(o), modules)])
                    continue
                near = _nearest(key, names)
                if more == 'anywhere':
                    near = near or _nearest(key, set().union(*map(_words_of, modules)))
                if near or more != 'outside':
                    raise ConfigError(f'{path}.{key} is read by nothing{near}')


def _refuse_twin(path: str, key: str, others: Iterable[Any]) -> None:
    """Refuse a name and a shorter spelling of it, such as ``max_per_image`` and ``max_per_img``."""
    for other in others:
        letters = iter(key)  # each is taken once
        shorter = all(letter in letters for letter in str(other)) and not key[-1].isdigit()
        if shorter and get_close_matches(key, [str(other)], cutoff=0.9):
            raise ConfigError(f'{path} has {key} and {other}: one of them is read by nothing')


def check_names(cfg: Config, known: Set[str] | None = None) -> None:
    """Refuse top-level entries that nothing reads, such as ``optim_wraper``.

    Those are read that are known, begin with ``_``, or are variables: used by one of the config's
    files, or named in a package of ``custom_imports``. What only a library's own files assign is
    left alone. Of a config without such files, as one that a run has saved, variables cannot be
    told: entries are refused that are nearly known ones and no lists or texts that are in these.

    Args:
        cfg: A config, overrides merged.
        known: Top-level entries that are read; those of a run by default.

    Raises:
        ConfigError: Names the entry, and the nearest that there is.
    """
    known = run_entries() if known is None else known
    files = read_files(cfg.filename)
    used = names_used(files)
    own = [assigned_names(file) for file in files if '.mim' not in file.path.parts]
    library = set().union(*map(assigned_names, files)).difference(*own)
    saved = len(files) < 2 and not used.intersection(*own)
    imports = set((cfg.get('custom_imports') or {}).get('imports') or ()) - {'flsl_mm'}
    for name in sorted(set(cfg) - known - used - library):
        if name.startswith('_') or _is_read(name, imports):
            continue
        names = sorted((known | used) - {'tta_pipeline'})  # not what train_pipeline was meant for
        near = get_close_matches(name, names, n=1, cutoff=0.8 if saved else 0.6)
        if saved and (not near or _holds([cfg.get(n) for n in known], cfg[name])):
            continue
        near = f'; is it {near[0]}?' if near else ' (a note may begin with _)'
        raise ConfigError(f'{name} is read by nothing of {cfg.filename}{near}')


def check_custom_keys(paramwise_cfg: Mapping[str, Any] | None, model: nn.Module) -> list[str]:
    """The ``custom_keys`` of an optimizer that are in no parameter's name, so change nothing.

    Raises:
        ConfigError: One is nearly a part of a name.
    """
    # As mmengine's constructor has them
    names = [f'.{name}' for name, _ in model.named_parameters()]
    keys = (paramwise_cfg or {}).get('custom_keys') or {}
    unused = [key for key in keys if not any(key in name for name in names)]
    parts = {part for name in names for part in name.split('.')}
    for key in unused:
        for part in key.split('.'):
            near = get_close_matches(part, parts, n=1, cutoff=0.8)
            if part not in parts and near:
                raise ConfigError(
                    f'optim_wrapper.paramwise_cfg.custom_keys.{key} is in no parameter name; '
                    f'is it {near[0]}?'
                )
    return unused


def _holds(content: Any, value: Any) -> bool:
    """Whether a part of a config has a value that says something: a text, a list or a dict."""
    if isinstance(value, (bool, int, float, type(None))):
        return False
    parts = content.values() if isinstance(content, dict) else content
    inside = isinstance(content, (dict, list, tuple)) and any(_holds(p, value) for p in parts)
    return inside or (type(content) is type(value) and content == value)


Kinds = dict[Any, str]  # what a type may stand for, and the registry of each


def _settings_in(
    path: str, setting: Any, scope: str | None, owner: Kinds | None = None
) -> Iterator[tuple[str, dict, Kinds, Kinds]]:
    """Dotted name, dict and kinds of each setting in a part of a config, it first.

    The last of the four are the kinds of the nearest with a type that it is in.
    Those whose names are free are left out: of a dict without a type that is in none with one.
    """
    if isinstance(setting, (list, tuple)):
        for i, item in enumerate(setting):
            yield from _settings_in(f'{path}.{i}', item, scope, owner)
    if not isinstance(setting, dict):
        return
    if not FREE.fullmatch(path):
        scope = setting.get('_scope_', scope)
        kinds = _kinds(setting.get('type', DEFAULT_TYPES.get(path)), scope)
        # A constructor reads what is in `paramwise_cfg`
        kinds |= _kinds(setting.get('constructor'), scope)
        if kinds or owner or any(re.fullmatch(pattern, path) for pattern in READERS):
            yield path, setting, kinds, owner or {}
        owner = kinds or owner
    for key, item in setting.items():
        yield from _settings_in(f'{path}.{key}', item, scope, owner)


def _names_read(
    path: str, setting: Mapping[str, Any], kinds: Kinds, owner: Kinds
) -> tuple[set[str], str]:
    """The names that are read of a dict.

    Args:
        path: Its dotted name.
        setting: The dict.
        kinds: What its type may stand for.
        owner: Those of the nearest with a type that it is in.

    Returns:
        tuple: The names, and where others may be read by name: ``''`` nowhere, ``'anywhere'`` in
        the classes around it, ``'outside'`` also where no source is known.
    """
    for pattern, readers in READERS.items():
        if re.fullmatch(pattern, path):
            names = (n for r in readers for n in ([r] if isinstance(r, str) else _arguments(r)))
            return set(names), ''
    if path.endswith('.metainfo'):  # others are read by whoever wrote them
        return {k for k in setting if not get_close_matches(k, META, cutoff=0.8)} | {*META}, ''
    if owner and path.endswith('.data_prefix'):
        if found := set().union(*(_PREFIX.findall(_text_of(m)) for m in _modules(owner))):
            return found, ''
    if not kinds:
        return {UNREAD_BY_MMDET}, 'outside' if 'type' in setting else 'anywhere'
    known: set[str] = set()
    # The model around a part of it may take some for itself.
    more = 'anywhere' if 'model' in kinds.values() else ''
    for kind, registry in kinds.items():
        names, passed_on = _arguments_of(kind)
        known |= {*names, *BUILDERS.get(registry, ())}
        more = 'outside' if passed_on else more
        if hasattr(kind, 'passed_on_to'):
            known.update(*(_arguments_of(k)[0] for k in _kinds(kind.passed_on_to, None)))
    return known - {'self', 'runner'}, more


def _kinds(name: Any, scope: str | None) -> Kinds:
    if not isinstance(name, str):
        return {name: ''} if callable(name) else {}
    found = {}
    for registry in REGISTRIES:
        other, name_there = registry.split_scope_key(name)
        place = registry.children.get(other or scope, registry)
        place.import_from_location()
        while place is not None and name_there not in place.module_dict:
            place = place.parent
        if place is not None:
            found[place.module_dict[name_there]] = registry.name
    return found


def _arguments(function: Callable) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def _passes_on(function: Callable) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def _arguments_of(kind: Any) -> tuple[list[str], bool]:
    """Names that a class takes, or a function; what it passes on is followed to its bases.

    Returns:
        tuple: The names, and whether any other is passed on to where it cannot be followed.
    """
    if not inspect.isclass(kind):
        return _arguments(kind), _passes_on(kind)
    found: list[str] = []
    for base in kind.__mro__:
        if '__init__' not in vars(base) or base is object:
            continue
        found += _arguments(base.__init__)
        if not _passes_on(base.__init__):
            return found, False
        if base is CheckpointHook:  # passes on what it does not know itself
            return found + _arguments(Runner.save_checkpoint), False
    return found, True


def _is_read(key: str, modules: Set[str]) -> bool:
    """Whether a name is in the source of modules, or of their packages, such as mmdet.models."""
    packages = {'.'.join(module.split('.')[:2]) for module in modules}
    files = (
        m
        for m in (*modules, *sorted(sys.modules))
        if f'{m}.'.startswith(tuple(f'{p}.' for p in packages))
    )
    return any(key in _words_of(module) for module in files)


def _modules(kinds: Iterable[Any]) -> set[str]:
    """Where classes and their bases are defined, torch's left out."""
    found = {base.__module__ for kind in kinds for base in getattr(kind, '__mro__', (kind,))}
    return {module for module in found if module.split('.')[0] not in ('builtins', 'abc', 'torch')}


_WORD = re.compile(r"""\.(\w+)|['"](\w+)['"]|\b(\w+)\s*[=:]""")


_PREFIX = re.compile(r"""data_prefix(?:\[|\.get\()['"](\w+)""")


@cache
def _words_of(module: str) -> frozenset[str]:
    """Attributes, texts and arguments in the source of an imported module."""
    return frozenset(word for words in _WORD.findall(_text_of(module)) for word in words if word)


def _text_of(module: str) -> str:
    """The source of an imported module; empty where there is none."""
    path = getattr(sys.modules.get(module), '__file__', None) or ''
    if not path.endswith('.py') or not osp.isfile(path):
        return ''
    return Path(path).read_text(encoding='utf-8', errors='replace')


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    return f'; is it {near[0]}?' if near else ''

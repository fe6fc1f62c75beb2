"""The checkpoint layouts that are read: one table, recognised by their keys."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .checkpoint_error import CheckpointError
from .names import Entry


@dataclass(frozen=True)
class Layout:
    """A way to arrange networks in a file.

    Attributes:
        name: Name in reports.
        recognise: Tells from all tensors by name, and the names of the other entries of the
            file, whether this is the layout.
        networks: Network name to the pattern of its backbone's prefix; the default one first.
        heads: Network name to the pattern of the prefix of its projection head, where FLSL can
            train on.
    """

    name: str
    recognise: Callable[[Mapping[str, Entry], set[str]], bool]
    networks: Mapping[str, str]
    heads: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint taken apart.

    Attributes:
        name: What to call it in messages.
        layout: Its layout.
        entries: Every tensor under its name without DDP prefixes; names in a ``student`` or
            ``teacher`` dict start with it.
        other: What else the file holds (training state, settings).
    """

    name: str
    layout: Layout
    entries: Mapping[str, Entry]
    other: Mapping[str, Any]

    def networks(self) -> list[str]:
        """Names of the networks in the file, the default one first."""
        return [name for name, prefix in self.layout.networks.items() if self.select(prefix)]

    def select(self, prefix: str) -> dict[str, Entry]:
        """The tensors under a prefix pattern, named without it."""
        pattern = re.compile(prefix)
        found = ((pattern.match(name), name, entry) for name, entry in self.entries.items())
        return {name[match.end() :]: entry for match, name, entry in found if match}


def _has(*patterns: str) -> Callable[[Mapping[str, Entry], set[str]], bool]:
    """Recognises files where each pattern matches the start of some key."""
    return lambda entries, other: all(any(re.match(p, name) for name in entries) for p in patterns)


def _is_released_flsl(entries: Mapping[str, Entry], other: set[str]) -> bool:
    """DINO's code wrote the same keys, but its position tables have a class row."""
    if not _has(r'(student|teacher)\.backbone\.blocks\.')(entries, other) or 'dino_loss' in other:
        return False
    tables = [e.tensor for name, e in entries.items() if name.endswith('backbone.pos_embed')]
    square = any(t.ndim == 3 and round(t.shape[1] ** 0.5) ** 2 == t.shape[1] for t in tables)
    return 'flsl_loss' in other or square


_BLOCK = r'blocks\.\d+\.'
LAYOUTS = (
    Layout(
        'released FLSL',
        _is_released_flsl,
        dict(teacher=r'teacher\.backbone\.', student=r'student\.backbone\.'),
        dict(teacher=r'teacher\.head\.', student=r'student\.head\.'),
    ),
    Layout(
        'DINO',
        _has(rf'(student|teacher)\.(backbone\.)?{_BLOCK}'),
        dict(teacher=r'teacher\.(backbone\.)?', student=r'student\.(backbone\.)?'),
    ),
    Layout(
        'FLSL',
        _has(r'teacher\.backbone\.layers\.\d+\.', r'backbone\.layers\.\d+\.'),
        dict(teacher=r'teacher\.backbone\.', student=r'backbone\.'),
        dict(teacher=r'teacher\.head\.', student=r'head\.'),
    ),
    Layout(
        'MoCo v3',
        _has(rf'(base|momentum)_encoder\.{_BLOCK}'),
        dict(teacher=r'momentum_encoder\.', student=r'base_encoder\.'),
    ),
    Layout(
        'MoCo v3 of mmpretrain',
        _has(r'backbone\.layers\.\d+\.', r'momentum_encoder\.0\.layers\.\d+\.'),
        dict(teacher=r'momentum_encoder\.0\.', student=r'backbone\.'),
    ),
    Layout(
        'detectron2 ViTDet',
        _has(rf'(backbone\.)?net\.{_BLOCK}'),
        dict(backbone=r'(backbone\.)?(net\.|(?=simfp_))'),
    ),
    Layout('mmpretrain', _has(r'(backbone\.)?layers\.\d+\.ln1\.'), dict(backbone=r'(backbone\.)?')),
    Layout(
        'transformers',
        _has(r'((vit|deit)\.)?encoder\.layer\.\d+\.layernorm_before\.'),
        dict(backbone=r'((vit|deit)\.)?'),
    ),
    Layout(
        'released FLSL detection',
        _has(rf'(backbone\.)?{_BLOCK}', r'(backbone\.)?fpn\d\.'),
        dict(backbone=r'(backbone\.)?'),
    ),
    Layout('MAE', _has(_BLOCK, r'(decoder_|mask_token)'), dict(backbone='')),
    Layout('timm', _has(rf'(backbone\.)?{_BLOCK}'), dict(backbone=r'(backbone\.)?')),
)


def identify(checkpoint: Mapping[str, Any], name: str) -> Checkpoint:
    """Recognise the layout of a checkpoint by its keys.

    Args:
        checkpoint: What a file holds, or a bare state dict.
        name: What to call it in messages.

    Raises:
        CheckpointError: No tensors, or none of the known layouts.
    """
    entries: dict[str, Entry] = {}
    other: dict[str, Any] = {}
    for key, value in checkpoint.items():
        if isinstance(value, Tensor):
            _add(entries, '', {key: value})
        elif key in ('state_dict', 'model') and isinstance(value, Mapping):
            _add(entries, '', value)
        elif key in ('student', 'teacher') and isinstance(value, Mapping):
            _add(entries, f'{key}.', value)
        else:
            other[key] = value
    own = getattr(checkpoint, '_metadata', {}).get('', {})  # settings in a bare state dict
    if 'network' in own:
        other.setdefault('meta', own)
    if not entries:
        raise CheckpointError(f'holds no weights, only {_some(checkpoint) or "an empty dict"}')
    for layout in LAYOUTS:
        if layout.recognise(entries, set(other)):
            return Checkpoint(name, layout, entries, other)
    known = ', '.join(dict.fromkeys(layout.name for layout in LAYOUTS))
    raise CheckpointError(f'no ViT of a known layout ({known}); its keys: {_some(entries)}')


def _add(entries: dict[str, Entry], prefix: str, tensors: Mapping[str, Any]) -> None:
    """Add the tensors, without the prefixes of DDP and torch.compile in their names."""
    for key, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            name = re.sub(r'(^|(?<=\.))(module|_orig_mod)\.', '', f'{prefix}{key}')
            if name in entries:
                raise CheckpointError(f'{prefix}{key} is in the file twice')
            entries[name] = Entry(tensor.detach(), (f'{prefix}{key}',))


def _some(names: Mapping[str, Any]) -> str:
    shown = [str(name) for name in names]
    return ', '.join(shown[:3]) + (', ...' if len(shown) > 3 else '')

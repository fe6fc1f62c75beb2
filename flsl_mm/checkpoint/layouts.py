"""Layouts of ViT checkpoints: how they are told apart, their parameter names, what they record.

Inside this project a backbone has the parameter names of
:class:`mmpretrain.models.VisionTransformer`.
"""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from mmpretrain.models import VisionTransformer
from torch import Tensor

from ..utils.errors import CheckpointError

# Applied in order, each at most once a name. A rule never matches a name that is already ours.
_TO_OURS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Hugging Face transformers
        (r'^embeddings\.position_embeddings$', 'pos_embed'),
        (r'^embeddings\.(cls|mask)_token$', r'\1_token'),
        (r'^embeddings\.distillation_token$', 'dist_token'),
        (r'^embeddings\.register_tokens$', 'register_tokens'),
        (r'^embeddings\.patch_embeddings\.(projection\.)?', 'patch_embed.projection.'),
        (r'^(encoder\.)?layer\.(\d+)\.', r'layers.\2.'),
        (r'^(layers\.\d+)\.layernorm_before\.', r'\1.ln1.'),
        (r'^(layers\.\d+)\.layernorm_after\.', r'\1.ln2.'),
        (r'^(layers\.\d+)\.attention\.attention\.(query|key|value)\.', r'\1.attn.\2.'),
        (r'^(layers\.\d+)\.attention\.(q|k|v)_proj\.', r'\1.attn.\2.'),
        (r'^(layers\.\d+)\.attention\.(output\.dense|o_proj)\.', r'\1.attn.proj.'),
        (r'^(layers\.\d+)\.layer_scale([12])\.lambda1$', r'\1.ls\2.gamma'),
        (r'^(layers\.\d+)\.intermediate\.dense\.', r'\1.ffn.layers.0.0.'),
        (r'^(layers\.\d+)\.output\.dense\.', r'\1.ffn.layers.1.'),
        (r'^layernorm\.', 'ln1.'),
        # timm, which DINO, MAE, MoCo v3, detectron2 and the released FLSL follow
        (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
        (r'^blocks\.\d+\.(\d+)\.', r'layers.\1.'),  # in chunks; blocks keep their numbers
        (r'^blocks\.(\d+)\.', r'layers.\1.'),
        (r'^(layers\.\d+)\.norm([12])\.', r'\1.ln\2.'),
        (r'^(layers\.\d+)\.mlp\.fc1\.', r'\1.ffn.layers.0.0.'),
        (r'^(layers\.\d+)\.mlp\.fc2\.', r'\1.ffn.layers.1.'),
        (r'^norm\.', 'ln1.'),
        (r'^norm_pre\.', 'pre_norm.'),
    )
)
_TO_TIMM = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
        (r'^layers\.(\d+)\.', r'blocks.\1.'),
        (r'^(blocks\.\d+)\.ln([12])\.', r'\1.norm\2.'),
        (r'^(blocks\.\d+)\.ffn\.layers\.0\.0\.', r'\1.mlp.fc1.'),
        (r'^(blocks\.\d+)\.ffn\.layers\.1\.', r'\1.mlp.fc2.'),
        (r'^ln1\.', 'norm.'),
        (r'^pre_norm\.', 'norm_pre.'),
    )
)
_SPLIT = re.compile(r'^(layers\.\d+\.attn)\.(q|k|v|query|key|value)(?:_proj)?\.(weight|bias)$')


class Entry(NamedTuple):
    """A tensor of a checkpoint and the keys of the file that it came from."""

    tensor: Tensor
    keys: tuple[str, ...]


def to_our_names(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Rename one network's tensors and join split queries, keys and values.

    A final LayerNorm that timm calls ``fc_norm`` (networks that average tokens) is taken where
    there is no ``norm``. Keys without a bias beside queries and values with one get zeros, which
    mean the same.

    Raises:
        CheckpointError: Two keys get one name, or a split projection is incomplete.
    """
    renamed: dict[str, Entry] = {}
    split: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        if name.startswith('fc_norm.') and name[3:] not in entries:
            name = name[3:]
        name = _apply(_TO_OURS, name)
        part = _SPLIT.match(name)
        if part:
            split.setdefault(f'{part[1]}.qkv.{part[3]}', {})[part[2][0]] = entry
        elif name in renamed:
            raise CheckpointError(f'{renamed[name].keys[0]} and {entry.keys[0]} are both {name}')
        else:
            renamed[name] = entry
    for name, parts in split.items():
        if name.endswith('bias') and set(parts) == set('qv'):
            parts['k'] = Entry(torch.zeros_like(parts['q'].tensor), ())
        shapes = {p.tensor.shape for p in parts.values()}
        if set(parts) != set('qkv') or len(shapes) > 1 or not all(shapes):
            raise CheckpointError(f'{name}: needs q, k and v of one shape, found {sorted(parts)}')
        ordered = [parts[letter] for letter in 'qkv']
        renamed[name] = Entry(
            torch.cat([p.tensor for p in ordered]), tuple(k for p in ordered for k in p.keys)
        )
    return renamed


def to_timm_name(name: str) -> str:
    """The name in timm's ``VisionTransformer`` of a parameter of ours."""
    return _apply(_TO_TIMM, name)


def _apply(rules: tuple[tuple[re.Pattern, str], ...], name: str) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name, count=1)
    return name


@dataclass(frozen=True)
class Layout:
    """A way to arrange networks in a file.

    Attributes:
        name: Name in reports.
        recognize: Tells from all tensors by name, and the names of the other entries of the
            file, whether this is the layout.
        networks: Network name to the pattern of its backbone's prefix; the default one first.
        heads: Network name to the pattern of the prefix of its projection head, where FLSL can
            train on.
    """

    name: str
    recognize: Callable[[Mapping[str, Entry], set[str]], bool]
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
        states: Entries of the file that are several states of one network, such as its averaged
            weights; they are the networks then, and the names of tensors start with them.
    """

    name: str
    layout: Layout
    entries: Mapping[str, Entry]
    other: Mapping[str, Any]
    states: tuple[str, ...] = ()

    def networks(self) -> list[str]:
        """Names of the networks in the file, the default one first."""
        return [name for name, prefix in self.layout.networks.items() if self.select(prefix)]

    def select(self, prefix: str) -> dict[str, Entry]:
        """The tensors under a prefix pattern, named without it."""
        pattern = re.compile(prefix)
        found = ((pattern.match(name), name, entry) for name, entry in self.entries.items())
        return {name[match.end() :]: entry for match, name, entry in found if match}


def _has(*patterns: str) -> Callable[[Mapping[str, Entry], set[str]], bool]:
    """Recognizes files where each pattern matches the start of some key."""
    return lambda entries, other: all(any(re.match(p, name) for name in entries) for p in patterns)


def _is_released_flsl(entries: Mapping[str, Entry], other: set[str]) -> bool:
    """DINO's code wrote the same keys, but its position tables have a class row."""
    if not _has(r'(student|teacher)\.backbone\.blocks\.')(entries, other) or 'dino_loss' in other:
        return False
    tables = [e.tensor for name, e in entries.items() if name.endswith('backbone.pos_embed')]
    square = any(t.ndim == 3 and round(t.shape[1] ** 0.5) ** 2 == t.shape[1] for t in tables)
    return 'flsl_loss' in other or square


_BLOCK = r'blocks\.\d+\.'
# Another project's network that went on training here, in timm.
TRAINED_HERE = 'FLSL on another network', 'detector on another network'
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
        TRAINED_HERE[0],
        _has(r'teacher\.backbone\.model\.blocks\.', r'backbone\.model\.blocks\.'),
        dict(teacher=r'teacher\.backbone\.model\.', student=r'backbone\.model\.'),
        dict(teacher=r'teacher\.head\.', student=r'head\.'),
    ),
    Layout(
        TRAINED_HERE[1],
        _has(r'backbone\.trunk\.model\.blocks\.'),
        dict(backbone=r'backbone\.trunk\.model\.'),
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
        'DINOv3 of transformers',
        _has(r'(model\.)?layer\.\d+\.attention\.q_proj\.'),
        dict(backbone=r'(model\.)?'),
    ),
    Layout(
        'DINOv2 of transformers',
        _has(r'(dinov2(_with_registers)?\.)?encoder\.layer\.\d+\.norm1\.'),
        dict(backbone=r'(dinov2(_with_registers)?\.)?'),
    ),
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
    Layout(
        'DINOv3',
        _has(_BLOCK, r'(rope_embed\.periods|storage_tokens)$'),
        dict(backbone=''),
    ),
    Layout('DINOv2', _has(_BLOCK, r'blocks\.0\.ls1\.gamma$', 'mask_token$'), dict(backbone='')),
    Layout('iBOT', _has(_BLOCK, 'masked_embed$'), dict(backbone='')),
    Layout('MAE', _has(_BLOCK, r'(decoder_|mask_token)'), dict(backbone='')),
    Layout('timm', _has(rf'(backbone\.)?{_BLOCK}'), dict(backbone=r'(backbone\.)?')),
)


def identify(checkpoint: Mapping[str, Any], name: str) -> Checkpoint:
    """Recognize the layout of a checkpoint by its keys.

    Args:
        checkpoint: What a file holds, or a bare state dict.
        name: What to call it in messages.

    Raises:
        CheckpointError: No tensors, or none of the known layouts.
    """
    entries: dict[str, Entry] = {}
    other: dict[str, Any] = {}
    states = {
        key: state
        for key in [k for k in STATES if k in checkpoint]
        + [k for k in checkpoint if k not in STATES]
        if (state := _innermost(checkpoint[key])) and (key in STATES or _is_network(key, state))
    }
    if len(states) > 1:
        return _identify_states(checkpoint, states, name)
    for key, value in checkpoint.items():
        if isinstance(value, Tensor):
            _add(entries, '', {key: value})
        elif key in states:
            _add(entries, '', states[key])
        elif key in PAIR and isinstance(value, Mapping):
            _add(entries, f'{key}.', value)
        else:
            other[key] = value
    own = getattr(checkpoint, '_metadata', {}).get('', {})  # settings in a bare state dict
    if 'network' in own:
        other.setdefault('meta', own)
    if not entries:
        raise CheckpointError(
            f'holds no weights, only {_some(checkpoint) or "an empty dict"}'
            + (' (weights are tensors, no NumPy arrays)' if checkpoint else '')
        )
    if layout := _layout_of(entries, set(other)):
        return Checkpoint(name, layout, entries, other)
    known = ', '.join(dict.fromkeys(layout.name for layout in LAYOUTS))
    raise CheckpointError(f'no ViT of a known layout ({known}); its keys: {_some(entries)}')


# Entries that hold a network's weights, averaged ones first where timm's loader takes them. Others
# hold some too where a network is recognized in them.
STATES = (
    'state_dict_ema',
    'model_ema',
    'state_dict',
    'model',
    'model_state_dict',
    'net',
    'weights',
    'ema_state_dict',
    'target_encoder',  # the averaged one of two in I-JEPA's files
)
PAIR = ('student', 'teacher')


def _innermost(state: Any) -> Mapping[str, Any]:
    """The tensors of an entry, which may be some dicts deeper; empty where there are none."""
    if not isinstance(state, Mapping):
        return {}
    if any(isinstance(value, Tensor) for value in state.values()):
        return state
    if any(isinstance(state.get(key), Mapping) for key in PAIR):
        return {
            f'{key}.{name}': value for key in PAIR for name, value in (state.get(key) or {}).items()
        }
    inner = (_innermost(state[key]) for key in sorted(state, key=lambda key: key not in STATES))
    return next((found for found in inner if found), {})


def _is_network(key: Any, state: Mapping[str, Any]) -> bool:
    """Whether an entry of a name that says nothing holds a network, and no state of training."""
    if key in PAIR or 'optim' in str(key):
        return False
    entries: dict[str, Entry] = {}
    _add(entries, '', state)
    return _layout_of(entries, set()) is not None


def _layout_of(entries: Mapping[str, Entry], other: set[str]) -> Layout | None:
    """The layout of a file; the names of its networks may all begin with another module's.

    Such as ``encoder.`` or Lightning's ``model.``; the networks are called by it where there are
    several.
    """
    for layout in LAYOUTS:
        if layout.recognize(entries, other):
            return layout
    prefixes = {match[1]: None for name in entries if (match := _INSIDE.match(name))}
    found = {}
    for prefix in prefixes:
        inside = {n[len(prefix) :]: e for n, e in entries.items() if n.startswith(prefix)}
        whole = any(name.startswith(('patch_embed.', 'embeddings.')) for name in inside)
        layout = next((k for k in LAYOUTS if whole and k.recognize(inside, other)), None)
        if layout is not None and list(layout.networks) == ['backbone']:
            found[prefix] = layout
    if not found:
        return None
    names = ['backbone'] if len(found) == 1 else [prefix.strip('.') for prefix in found]
    networks = {
        name: re.escape(prefix) + layout.networks['backbone']
        for name, (prefix, layout) in zip(names, found.items())
    }
    return replace(next(iter(found.values())), networks=networks)


_INSIDE = re.compile(r'(.+?\.)(blocks|layers?|encoder\.layer)\.\d+\.')


def _identify_states(
    checkpoint: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]], name: str
) -> Checkpoint:
    """A file with several states of its weights, the networks of each.

    Those of one network are called as the state; where there are two, those of the first state have
    their own names and the others the state's before it, such as ``ema_state_dict.teacher``.
    """
    rest = {key: value for key, value in checkpoint.items() if key not in states}
    found: dict[str, Checkpoint] = {}
    other = dict(rest)
    for key, state in states.items():
        try:
            found[key] = identify({**rest, 'state_dict': state}, name)
        except CheckpointError:  # no network, but some other state of training
            other[key] = checkpoint[key]
    if not found:
        return identify({'state_dict': states[next(iter(states))]}, name)  # which says why
    entries: dict[str, Entry] = {}
    parts: dict[str, dict[str, str]] = dict(networks={}, heads={})
    for key, part in found.items():
        _add(entries, f'{key}.', states[key])
        for kind, named in parts.items():
            for network, prefix in (getattr(part.layout, kind) or {}).items():
                own = network if key == next(iter(found)) else f'{key}.{network}'
                named[key if network == 'backbone' else own] = rf'{key}\.{prefix}'
    layout = next(iter(found.values())).layout
    layout = replace(layout, networks=parts['networks'], heads=parts['heads'] or None)
    return Checkpoint(name, layout, entries, other, tuple(found))


def _add(entries: dict[str, Entry], prefix: str, tensors: Mapping[str, Any]) -> None:
    """Add the tensors, without the prefixes of DDP and torch.compile in their names."""
    for key, tensor in tensors.items():
        if isinstance(tensor, Mapping):
            _add(entries, f'{prefix}{key}.', tensor)
        if isinstance(tensor, Tensor):
            name = re.sub(r'(^|(?<=\.))(module|_orig_mod)\.', '', f'{prefix}{key}')
            if name in entries:
                raise CheckpointError(f'{prefix}{key} is in the file twice')
            if tensor.is_meta or tensor.layout != torch.strided:
                kind = 'has no values' if tensor.is_meta else 'is sparse'
                raise CheckpointError(f'{prefix}{key} {kind}: save a dense tensor')
            entries[name] = Entry(tensor.detach(), (f'{prefix}{key}',))


def _some(names: Mapping[str, Any]) -> str:
    shown = [str(name) for name in names]
    return ', '.join(shown[:3]) + (', ...' if len(shown) > 3 else '')


# Width and heads by the usual names; MoCo v3's 'vit_small' has 12 heads (its Section 4.2).
_HEADS = {
    'tiny': (192, 3),
    'small': (384, 6),
    'base': (768, 12),
    'large': (1024, 16),
    'huge': (1280, 16),
}


def recorded_heads(other: Mapping[str, Any], layout: str, width: int) -> int | None:
    """Number of attention heads that a checkpoint records.

    Looked for in ``meta['num_heads']`` (files written here), the config text of mmengine
    checkpoints and the arch name of the others; a name counts only where its width fits.

    Args:
        other: Entries of the file that are no weights.
        layout: Name of the layout.
        width: Embedding dimensions D of the weights.

    Returns:
        int: Heads, or None where the file does not tell.
    """
    meta = other.get('meta')
    if isinstance(meta, Mapping):
        if str(meta.get('num_heads', '')).isdigit():
            return int(meta['num_heads'])
        return _heads_of_config(recorded_part(other, 'backbone'))
    args = other.get('args')
    settings = dict(vars(args)) if hasattr(args, '__dict__') else {}
    for name in (settings.get('arch'), settings.get('model'), other.get('arch')):
        size = re.search(r'(?:vit|deit)_(tiny|small|base|large|huge)', str(name))
        if size and _HEADS[size[1]][0] == width:
            return 12 if (layout, size[1]) == ('MoCo v3', 'small') else _HEADS[size[1]][1]
    return None


def recorded_network(other: Mapping[str, Any]) -> str | None:
    """Which network of pretraining a file of one backbone holds, where it was written here.

    Args:
        other: Entries of the file that are no weights.

    Returns:
        str: ``'teacher'`` or ``'student'``, or None where the file does not tell.
    """
    meta = other.get('meta')
    network = meta.get('network') if isinstance(meta, Mapping) else None
    return network if network in ('teacher', 'student') else None


def recorded_family(other: Mapping[str, Any]) -> str | None:
    """Family of another project's network that was trained on here; None where there is none.

    Args:
        other: Entries of the file that are no weights.

    Returns:
        str: A name in :data:`~flsl_mm.checkpoint.foreign.FAMILIES`, or ``'timm:NAME'``.
    """
    meta = other.get('meta')
    if not isinstance(meta, Mapping):
        return None
    if isinstance(meta.get('family'), str):
        return meta['family']
    trunk = recorded_part(other, 'backbone').get('trunk')  # of detectors that were trained earlier
    family = trunk.get('family') if isinstance(trunk, dict) else None
    return family if isinstance(family, str) else None


def recorded_statistics(
    other: Mapping[str, Any],
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation of the channels, in 0-255, that training here recorded; else None.

    Args:
        other: Entries of the file that are no weights.
    """
    meta = other.get('meta')
    found = [meta.get(name) if isinstance(meta, Mapping) else None for name in ('mean', 'std')]
    with suppress(ValueError):  # safetensors has texts alone
        found = [json.loads(values) if isinstance(values, str) else values for values in found]
    listed = all(isinstance(values, list | tuple) and values for values in found)
    numbers = listed and all(isinstance(v, int | float) for values in found for v in values)
    if not numbers or len(found[0]) != len(found[1]) or min(found[1]) <= 0:
        return None
    mean, std = (tuple(map(float, values)) for values in found)
    return mean, std


def check_windows(other: Mapping[str, Any]) -> None:
    """Refuse a detector whose blocks attend in windows: frozen networks have none.

    Args:
        other: Entries of the file that are no weights.

    Raises:
        CheckpointError: It is one.
    """
    backbone = recorded_part(other, 'backbone')
    if 'trunk' in backbone and (size := backbone.get('window_size', 0)):
        raise CheckpointError(
            f'its blocks were trained to attend in windows of {size} tokens: only a detector can '
            'use it'
        )


def recorded_part(other: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of the model in the config text of mmengine's files; empty where there is none."""
    meta = other.get('meta')
    model = config_value(meta.get('cfg'), 'model') if isinstance(meta, Mapping) else None
    part = model.get(name) if isinstance(model, dict) else None
    return part if isinstance(part, dict) else {}


def config_value(text: Any, name: str) -> Any:
    """The literal assigned to a top-level name in the text of a config; None where there is none.

    ``dict(...)`` calls count as literals; anything else inside becomes None.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return None
    for statement in statements:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], 'id', None) == name:
            return _literal(statement.value)
    return None


def recorded_scale(found: Checkpoint) -> float | None:
    """The ``self_scale`` of a training's neck: found by itself, or of its config; else None."""
    if (auto := found.entries.get('neck.auto_scale')) is not None:
        total, count, *_ = auto.tensor.double().tolist()
        return math.exp(total / count) if count else None
    scale = recorded_part(found.other, 'neck').get('self_scale')
    return float(scale) if isinstance(scale, int | float) and scale > 0 else None


def _heads_of_config(backbone: Mapping[str, Any]) -> int | None:
    arch = backbone.get('arch', backbone)
    if isinstance(arch, str):
        if arch.lower() in ('mocov3-s', 'mocov3-small'):  # in the zoo once one has been built
            return 12
        arch = VisionTransformer.arch_zoo.get(arch.lower(), {})
    heads = arch.get('num_heads') if isinstance(arch, dict) else None
    return heads if isinstance(heads, int) else None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict':
        return {k.arg: _literal(k.value) for k in node.keywords if k.arg is not None}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values)
        return {k.value: _literal(v) for k, v in pairs if isinstance(k, ast.Constant)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(element) for element in node.elts]
    return node.value if isinstance(node, ast.Constant) else None

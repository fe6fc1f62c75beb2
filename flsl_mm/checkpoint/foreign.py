"""Other projects' ViTs: which family a file is of, and its tensors under timm's names.

A file says how deep and wide its network is, and what tokens it has, but not how its authors
resample the position table, what the norms' epsilon is or how pixels are normalized. That comes
from :data:`FAMILIES`, the one table of what a family implies.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..utils.errors import CheckpointError
from ..utils.images import IMAGENET_MEAN, IMAGENET_STD
from .layouts import TRAINED_HERE, Checkpoint, Entry, recorded_family, to_timm_name
from .matching import check_values
from .report import LoadReport


class Statistics(NamedTuple):
    """Of the channels R, G, B that a network expects, of pixels in 0-255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Positions(NamedTuple):
    """How a position table is resampled, always bicubic.

    Attributes:
        offset: Added to the wanted rows and columns for the scale factor (DINO's 0.1); None
            resamples to the wanted size itself.
        antialias: Whether a smaller table is low-pass filtered.
    """

    offset: float | None = None
    antialias: bool = False


IMAGENET = Statistics(IMAGENET_MEAN, IMAGENET_STD)
HALF = Statistics((127.5,) * 3, (127.5,) * 3)
CLIP = Statistics((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305))

TIMM = 'timm:'  # before a name of timm's: a network as timm makes it

_PLAIN, _DINO = Positions(), Positions(offset=0.1)
SHARP = Positions(antialias=True)


@dataclass(frozen=True)
class Family:
    """What networks of one origin have in common that their weights do not say.

    Attributes:
        name: Name in reports.
        recognize: Tells from the layout's name and the tensors under timm's names.
        positions: How the position table is resampled.
        eps: Of the LayerNorms.
        statistics: Of the pixels.
        activation: timm's name of it.
    """

    name: str
    recognize: Callable[[str, Mapping[str, Entry]], bool]
    positions: Positions
    eps: float = 1e-6
    statistics: Statistics = IMAGENET
    activation: str = 'gelu'


def _is_layout(*names: str) -> Callable[[str, Mapping[str, Entry]], bool]:
    return lambda layout, tensors: layout in names


def _is_dinov2(layout: str, tensors: Mapping[str, Entry]) -> bool:
    """Authors' own: also inside a file of training, which looks as DINO's does."""
    scaled = {'mask_token', 'blocks.0.ls1.gamma'} <= tensors.keys()
    return layout == 'DINOv2' or (layout == 'DINO' and scaled)


def _is_bare_dino(layout: str, tensors: Mapping[str, Entry]) -> bool:
    """DINO's functions for its three sizes set an epsilon of 1e-6; its class itself has torch's."""
    table = tensors.get('pos_embed')
    return layout == 'DINO' and table is not None and table.tensor.shape[-1] not in (192, 384, 768)


# The first that fits counts.
FAMILIES = (
    Family('DINOv3', lambda layout, tensors: 'pos_embed' not in tensors, _PLAIN, eps=1e-5),
    Family(
        'DINOv2 with registers',
        lambda n, t: _is_dinov2(n, t) and 'reg_token' in t,
        SHARP,
    ),
    Family('DINOv2', _is_dinov2, _DINO),
    Family(
        'DINOv2 with registers of transformers',
        lambda layout, t: layout == 'DINOv2 of transformers' and 'reg_token' in t,
        SHARP,
    ),
    Family('DINOv2 of transformers', _is_layout('DINOv2 of transformers'), _PLAIN),
    Family('ViT of transformers', _is_layout('transformers'), _PLAIN, eps=1e-12, statistics=HALF),
    Family(
        'CLIP of timm',
        lambda layout, t: layout == 'timm' and 'norm_pre.weight' in t,
        SHARP,
        eps=1e-5,
        statistics=CLIP,
        activation='quick_gelu',
    ),
    Family(
        'SigLIP of timm',
        lambda layout, t: layout == 'timm' and 'cls_token' not in t,
        SHARP,
        statistics=HALF,
    ),
    Family('ViT of timm', _is_layout('timm'), SHARP),
    Family('DINO of another width', _is_bare_dino, _DINO, eps=1e-5),
    Family('DINO', _is_layout('DINO', 'iBOT', 'FLSL', 'released FLSL'), _DINO),
    Family('ViT', lambda layout, tensors: True, _PLAIN),  # MAE, MoCo v3, mmpretrain
)


# This project's ClassTokenViT, which its fixed position table tells from the others.
CLASS_TOKEN = Family('FLSL with a class token', lambda layout, tensors: False, _DINO)


class ForeignViT(NamedTuple):
    """A network of a file, ready for a model of timm's.

    Attributes:
        family: What it is.
        rotary: Whether it has rotary positions (then it is an ``Eva``).
        tensors: By timm's name; the position table has rows for patches only, those of the prefix
            tokens are in the tokens.
        periods: Of the rotary positions where the file has them.
        keys: Keys of the file that each name came from.
    """

    family: Family
    rotary: bool
    tensors: Mapping[str, Tensor]
    periods: Tensor | None
    keys: Mapping[str, tuple[str, ...]]


_RENAMED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r'^(register|storage)_tokens$', 'reg_token'),
        (r'^rope\.periods$', 'rope_embed.periods'),
        (r'\.mlp\.(w3|weights_out|down_proj)\.', '.mlp.fc2.'),
        (r'\.mlp\.(w12|weights_in)\.', '.mlp.fc1.'),
        (r'\.mlp\.(w1|fc1_g)\.', '.mlp.gate_proj.'),
        (r'\.mlp\.(w2|fc1_x)\.', '.mlp.up_proj.'),
        (r'\.gamma_([12])$', r'.ls\1.gamma'),
    )
)
_NOT_NEEDED = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r'mask_token$|masked_embed$|decoder', 'belongs to masked-image modelling'),
        (r'attn_pool\.', 'a head that pools tokens'),
        (r'(neck|local_cls_norm|projectors)\.', 'only used in pretraining'),
        (r'(\w+_)?(head|heads|classifier|fc)(_dist)?\.', 'a head'),
        (r'pre_logits|pooler\.', 'a head'),
        (r'ln2\.', 'follows averaging'),
    )
)
_PREFIX = 'cls_token', 'dist_token', 'reg_token'
_SPECIAL = re.compile(
    r'(cls|dist|reg)_tokens?$|(register|storage)_tokens|rope|attn_pool|pre_norm\.|'
    r'layers\.0\.(ls1|gamma_1|attn\.[qk]_norm)'
)
_DETECTION = 'detectron2 ViTDet', 'released FLSL detection'


def is_plain(found: Checkpoint, entries: Mapping[str, Entry]) -> bool:
    """Whether a network is a plain ViT without prefix tokens, as FLSL's own are.

    Args:
        found: The file.
        entries: The network's tensors under our names.
    """
    if recorded_family(found.other) is not None or found.layout.name in TRAINED_HERE:
        return False
    if found.layout.name in _DETECTION or 'layers.0.attn.qkv.weight' not in entries:
        return True  # a malformed one is refused there
    return 'pos_embed' in entries and not any(_SPECIAL.match(name) for name in entries)


def convert_foreign(
    found: Checkpoint, entries: Mapping[str, Entry], report: LoadReport
) -> ForeignViT:
    """Bring a network's tensors under timm's names.

    Args:
        found: The file.
        entries: The network's tensors under our names.
        report: Filled in with what is left out, by name.

    Raises:
        CheckpointError: A tensor has no known place, or is malformed.
    """
    named = _to_timm(entries)
    family = _family_of(found, named)
    periods = named.pop('rope_embed.periods', None)
    if periods is not None:
        check_values(periods.keys[0], periods.tensor)
        report.used[periods.keys[0]] = 'periods of the rotary positions'
    _drop(named, report)
    rotary = 'pos_embed' not in named
    if rotary:
        _split_bias(named)
    else:
        _fold_prefix_rows(named)
    for name, entry in named.items():
        check_values(entry.keys[0] if entry.keys else name, entry.tensor)
    return ForeignViT(
        family,
        rotary,
        {_without_scale(n, rotary): e.tensor for n, e in named.items()},
        None if periods is None else periods.tensor.float(),
        {_without_scale(n, rotary): e.keys for n, e in named.items()},
    )


def _family_of(found: Checkpoint, named: Mapping[str, Entry]) -> Family:
    """The family that a file records, where it was trained here, or that its layout implies.

    Raises:
        CheckpointError: It should be recorded and is not, or there is no such family.
    """
    recorded, layout = recorded_family(found.other), found.layout.name
    if recorded is None and layout in TRAINED_HERE:
        raise CheckpointError(
            'does not record of which family its network is: take the checkpoint as training wrote '
            'it, or what publish_model.py made of it'
        )
    if recorded is not None and not recorded.startswith(TIMM):
        known = {family.name: family for family in (*FAMILIES, CLASS_TOKEN)}
        if recorded not in known:
            raise CheckpointError(f'holds a network of the family {recorded!r}, which is not known')
        return known[recorded]
    layout = layout if recorded is None else 'timm'
    return next(family for family in FAMILIES if family.recognize(layout, named))


def _to_timm(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Names of timm's VisionTransformer, gated feed-forward networks packed."""
    named: dict[str, Entry] = {}
    for name, entry in entries.items():
        name = to_timm_name(name)
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name, count=1)
        if name in named:
            raise CheckpointError(f'{named[name].keys[0]} and {entry.keys[0]} are both {name}')
        named[name] = entry
    for name in [n for n in named if '.mlp.up_proj.' in n]:
        value, packed = named.pop(name), name.replace('up_proj', 'fc1')
        gate = named.pop(name.replace('up_proj', 'gate_proj'), None)
        if gate is not None:
            if gate.tensor.shape != value.tensor.shape:
                raise CheckpointError(f'{gate.keys[0]} and {value.keys[0]} differ in shape')
            value = Entry(torch.cat([gate.tensor, value.tensor]), gate.keys + value.keys)
        named[packed] = value
    return named


def _drop(named: dict[str, Entry], report: LoadReport) -> None:
    """Take out what is no part of the encoder, each with its reason."""
    for name in list(named):
        reason = next((why for pattern, why in _NOT_NEEDED if pattern.match(name)), None)
        if name.endswith('.attn.qkv.bias_mask'):
            reason = _check_mask(named[name])
        if reason is not None:
            report.ignored.update(dict.fromkeys(named.pop(name).keys, reason))


def _check_mask(mask: Entry) -> str:
    """DINOv3 masks the bias of its keys, which means nothing under a softmax without rotation."""
    wanted = torch.ones(3, 1).index_fill(0, torch.tensor([1]), 0.0)
    if mask.tensor.ndim != 1 or len(mask.tensor) % 3:
        raise CheckpointError(f'{mask.keys[0]} does not mask queries, keys and values')
    if not bool((mask.tensor.float().view(3, -1) == wanted).all()):
        raise CheckpointError(f'{mask.keys[0]} masks something else than the keys')
    return 'masks the bias of the keys, which is left out'


def _split_bias(named: dict[str, Entry]) -> None:
    """One bias of queries, keys and values becomes two: rotated keys have none."""
    masked = {n for n in named if n.endswith('.attn.qkv.bias')}
    for name in masked:
        bias, keys = named.pop(name)
        if bias.ndim != 1 or len(bias) % 3:
            raise CheckpointError(f'{keys[0]} is {tuple(bias.shape)}, not of three equal parts')
        for part, value in zip('qv', bias.view(3, -1)[::2]):
            named[name.replace('qkv.bias', f'{part}_bias')] = Entry(value, keys)


def _fold_prefix_rows(named: dict[str, Entry]) -> None:
    """Add the first rows of the position table to the prefix tokens, which is what they are for.

    Raises:
        CheckpointError: The rows are neither a square grid nor one after the prefix tokens.
    """
    table, keys = named['pos_embed']
    if table.ndim != 3 or any(named[n].tensor.ndim != 3 for n in _PREFIX if n in named):
        raise CheckpointError('its position table and prefix tokens need 3 dimensions')
    tokens = [named.pop(name) for name in _PREFIX if name in named]
    counts = [entry.tensor.shape[1] for entry in tokens]
    for prefix in sorted({0, min(1, sum(counts)), sum(counts)}):
        side = isqrt(max(table.shape[1] - prefix, 0))
        if side and side * side == table.shape[1] - prefix:
            break
    else:
        raise CheckpointError(f'pos_embed has {table.shape[1]} rows: no square patch grid')
    named['pos_embed'] = Entry(table[:, prefix:], keys)
    if not tokens:
        return
    if len({entry.tensor.shape[2] for entry in tokens} | {table.shape[2]}) > 1:
        raise CheckpointError('its position table and prefix tokens differ in width')
    joined = torch.cat([entry.tensor for entry in tokens], dim=1).clone()
    joined[:, :prefix] += table[:, :prefix]
    all_keys = tuple(key for entry in tokens for key in entry.keys)
    has_class = tokens[0].tensor.shape[1] == 1
    named['cls_token'] = Entry(joined[:, :1], tokens[0].keys if has_class else all_keys)
    if joined.shape[1] > 1:
        named['reg_token'] = Entry(joined[:, 1:], all_keys[1:] or all_keys)


def _without_scale(name: str, rotary: bool) -> str:
    return re.sub(r'\.ls([12])\.gamma$', r'.gamma_\1', name) if rotary else name


def timm_arguments(vit: ForeignViT, num_heads: int) -> dict[str, Any]:
    """Arguments of timm's ``VisionTransformer`` or ``Eva`` but for layers; both know these names.

    Raises:
        CheckpointError: A tensor that says what the network is like is missing or malformed.
    """
    tensors = vit.tensors
    kernel, hidden = (
        _of_rank(tensors, name, rank)
        for name, rank in (('patch_embed.proj.weight', 4), ('blocks.0.mlp.fc1.weight', 2))
    )
    narrow = _of_rank(tensors, 'blocks.0.mlp.fc2.weight', 2)
    width, patch = kernel.shape[0], kernel.shape[-1]
    if kernel.shape[1] != 3 or kernel.shape[2] != patch:
        raise CheckpointError(f'its patch embedding is {tuple(kernel.shape)}: not of RGB squares')
    if narrow.shape[1] not in (len(hidden), len(hidden) / 2):
        raise CheckpointError('its feed-forward network is neither plain nor gated')
    gated = narrow.shape[1] != len(hidden)
    side = 14 if vit.rotary else isqrt(tensors['pos_embed'].shape[1])
    registers = tensors['reg_token'].shape[1] if 'reg_token' in tensors else 0
    ratio = narrow.shape[1] if vit.rotary else len(hidden)
    common = dict(
        img_size=side * patch,
        patch_size=patch,
        num_classes=0,
        embed_dim=width,
        depth=1 + max(int(m[1]) for m in (re.match(r'blocks\.(\d+)\.', n) for n in tensors) if m),
        num_heads=num_heads,
        mlp_ratio=(ratio + 0.5) / width,  # timm rounds down
        init_values=1.0 if _has_scale(tensors) else None,
        class_token='cls_token' in tensors,
        global_pool='',
        no_embed_class=True,
        dynamic_img_size=True,
    )
    if vit.rotary:
        return dict(
            common,
            qkv_bias='blocks.0.attn.q_bias' in tensors,
            num_reg_tokens=registers,
            swiglu_mlp=gated,
            use_abs_pos_emb=False,
            use_rot_pos_emb=True,
            rope_type='dinov3',
            rope_temperature=100.0,
            rope_rotate_half=True,
        )
    return dict(
        common,
        qkv_bias='blocks.0.attn.qkv.bias' in tensors,
        reg_tokens=registers,
        pre_norm='norm_pre.weight' in tensors,
        qk_norm='blocks.0.attn.q_norm.weight' in tensors,
        gated=gated,
    )


def _of_rank(tensors: Mapping[str, Tensor], name: str, rank: int) -> Tensor:
    if name not in tensors or tensors[name].ndim != rank:
        raise CheckpointError(f'lacks a backbone parameter: {name} with {rank} dimensions')
    return tensors[name]


def _has_scale(tensors: Mapping[str, Tensor]) -> bool:
    return 'blocks.0.ls1.gamma' in tensors or 'blocks.0.gamma_1' in tensors

"""Parameter names of the known ViT implementations, as pure functions on names.

Inside this project a backbone has the names of :class:`mmpretrain.models.VisionTransformer`.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .checkpoint_error import CheckpointError

# Applied in order, each at most once a name. A rule never matches a name that is already ours.
_TO_OURS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Hugging Face transformers
        (r'^embeddings\.position_embeddings$', 'pos_embed'),
        (r'^embeddings\.(cls|mask)_token$', r'\1_token'),
        (r'^embeddings\.distillation_token$', 'dist_token'),
        (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.projection.'),
        (r'^encoder\.layer\.(\d+)\.', r'layers.\1.'),
        (r'^(layers\.\d+)\.layernorm_before\.', r'\1.ln1.'),
        (r'^(layers\.\d+)\.layernorm_after\.', r'\1.ln2.'),
        (r'^(layers\.\d+)\.attention\.attention\.(query|key|value)\.', r'\1.attn.\2.'),
        (r'^(layers\.\d+)\.attention\.output\.dense\.', r'\1.attn.proj.'),
        (r'^(layers\.\d+)\.intermediate\.dense\.', r'\1.ffn.layers.0.0.'),
        (r'^(layers\.\d+)\.output\.dense\.', r'\1.ffn.layers.1.'),
        (r'^layernorm\.', 'ln1.'),
        # timm, which DINO, MAE, MoCo v3, detectron2 and the released FLSL follow
        (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
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
    there is no ``norm``.

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

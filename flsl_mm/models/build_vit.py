"""The frozen ViT that a checkpoint holds, for evaluation and pictures."""

import logging
from math import isqrt
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from mmpretrain.models import VisionTransformer
from torch import Tensor

from ..checkpoint import CheckpointError, load_pretrained
from ..checkpoint.layouts import Checkpoint
from ..checkpoint.loading import Source, choose_network, open_checkpoint, take_network
from ..checkpoint.matching import Target, num_layers
from ..utils.errors import errors_about
from .backbones import FLSLVisionTransformer
from .build_head import build_head

RANDOM = 'random:'
# Width of an attention head in every usual ViT; MoCo v3's ViT-S, which differs, is recognised.
_HEAD_WIDTH = 64
_IMAGE = 224  # side in pixels of what a network of a named design is for


class _Design(NamedTuple):
    """Arguments of :class:`FLSLVisionTransformer`."""

    arch: str | dict
    patch_size: int
    img_size: int


def build_vit(
    source: Source,
    key: str | None = None,
    num_heads: int | None = None,
    trust: bool = False,
    seed: int = 0,
    with_head: bool = False,
) -> FLSLVisionTransformer:
    """Build the ViT of a checkpoint, in evaluation mode and without gradients.

    Width, depth, patch size and position grid are read off the weights, so nothing else needs to
    be known about a file of any layout that :func:`load_pretrained` reads. A class token is left
    out, as everywhere in this project.

    Args:
        source: A path or state dict; ``'random:ARCH/PATCH'``, such as ``'random:deit-small/16'``,
            for a network of that design with random weights; ``'random:PATH'`` for the design of a
            file with random weights.
        key: ``'teacher'`` (the default where a file has both) or ``'student'``.
        num_heads: Attention heads, where the file does not record them and they are not 64 wide.
        trust: Also read files that may execute code, see :func:`read_checkpoint`.
        seed: Of random weights. torch's global generator is left as it was.
        with_head: Also keep the network's projection head, as ``vit.head``, see :func:`build_head`.

    Returns:
        FLSLVisionTransformer: With ``out_type='raw'``: tokens (B, N, D) after the final LayerNorm.

    Raises:
        CheckpointError: The file cannot be used, or its number of heads must be told.
    """
    random = isinstance(source, str) and source.startswith(RANDOM)
    if random:
        source = source[len(RANDOM) :]
    design = _named_design(source) if random else None
    if design is None:
        source = open_checkpoint(source, trust)
        design = _read_design(source, key, num_heads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = FLSLVisionTransformer(**design._asdict(), out_type='raw')
        vit.init_weights()
    if not random:
        load_pretrained(vit, source, key)
    if with_head:
        vit.head = None if random else build_head(source, key)
    return vit.eval().requires_grad_(False)


def _named_design(text: str) -> _Design | None:
    """The design that ``ARCH/PATCH`` names; None where the text is no such pair.

    Raises:
        CheckpointError: The text looks like one, but the arch is unknown or the patch has no size.
    """
    arch, slash, patch = text.rpartition('/')
    if not slash or not patch.isdecimal():
        return None
    if arch not in VisionTransformer.arch_zoo:
        known = ', '.join(sorted(VisionTransformer.arch_zoo))
        raise CheckpointError(f'{RANDOM}{text}: no arch {arch!r}; known: {known}')
    size = int(patch)
    if not 1 <= size <= _IMAGE:
        raise CheckpointError(f'{RANDOM}{text}: a patch is 1 to {_IMAGE} pixels wide, not {size}')
    return _Design(arch, size, _IMAGE // size * size)


def _read_design(found: Checkpoint, key: str | None, num_heads: int | None) -> _Design:
    """The design that the weights of a file have."""
    with errors_about(found.name):
        entries, report = take_network(found, choose_network(found, key), key)
        parameters = Target.own(entries).parameters
        side = _grid_side(parameters['pos_embed'])
        width = parameters['pos_embed'].shape[-1]
        heads = num_heads
        if heads is None:
            heads = report.num_heads or _usual_heads(width, found.layout.name)
        if heads < 1 or width % heads:
            raise CheckpointError(f'{heads} attention heads do not divide its width of {width}')
    if report.num_heads is None and num_heads is None:
        print_log(
            f'{found.name} does not record its attention heads: taking {heads}, {_HEAD_WIDTH} wide '
            'each',
            logger='current',
            level=logging.WARNING,
        )
    patch_size = parameters['patch_embed.projection.weight'].shape[-1]
    arch = dict(
        embed_dims=width,
        num_layers=num_layers(parameters),
        num_heads=heads,
        feedforward_channels=parameters['layers.0.ffn.layers.0.0.weight'].shape[0],
    )
    return _Design(arch, patch_size, side * patch_size)


def _grid_side(table: Tensor) -> int:
    side = isqrt(table.shape[1])
    if side * side != table.shape[1]:
        raise CheckpointError(f'its position table of {table.shape[1]} rows covers no square grid')
    return side


def _usual_heads(width: int, layout: str) -> int:
    """Heads of a file that does not record them.

    Raises:
        CheckpointError: They cannot be told.
    """
    if width % _HEAD_WIDTH or (layout.startswith('MoCo v3') and width == 384):
        raise CheckpointError(
            f'does not record its attention heads, and a width of {width} does not tell them: '
            'give their number (--num-heads, num_heads=)'
        )
    return width // _HEAD_WIDTH

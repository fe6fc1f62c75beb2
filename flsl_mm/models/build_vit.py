"""The frozen ViT that a checkpoint holds, for evaluation and pictures."""

import logging
from math import isqrt
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from mmpretrain.models import VisionTransformer
from torch import Tensor

from ..checkpoint import CheckpointError, load_pretrained
from ..checkpoint.foreign import CLASS_TOKEN, convert_foreign, is_plain
from ..checkpoint.layouts import (
    Checkpoint,
    Entry,
    check_windows,
    recorded_family,
    recorded_scale,
    recorded_statistics,
)
from ..checkpoint.loading import (
    Source,
    choose_network,
    open_checkpoint,
    report_rest,
    take_network,
)
from ..checkpoint.matching import Target, check_heads, num_layers
from ..checkpoint.report import LoadReport, log_report
from ..utils.errors import errors_about
from .backbones import FLSLVisionTransformer
from .backbones.flsl_vit import sincos_position_embedding
from .backbones.frozen_vit import FrozenViT
from .backbones.timm_vit import TimmViT, build_foreign, create_timm, load_named
from .build_head import build_head

RANDOM = 'random:'
TIMM = 'timm:', 'timm/'  # pretrained, and after RANDOM
# Width of an attention head in every usual ViT; MoCo v3's ViT-S, which differs, is recognized.
_HEAD_WIDTH = 64
_IMAGE = 224  # side in pixels of what a network of a named design is for


class Design(NamedTuple):
    """Arguments of :class:`FLSLVisionTransformer`."""

    arch: str | dict
    patch_size: int
    img_size: int
    in_channels: int = 3


def build_vit(
    source: Source,
    key: str | None = None,
    num_heads: int | None = None,
    trust: bool = False,
    seed: int = 0,
    with_head: bool = False,
) -> FrozenViT:
    """Build the ViT of a checkpoint, in evaluation mode and without gradients.

    Width, depth, patch size and position grid are read off the weights, the rest follows from the
    layout (:data:`~flsl_mm.checkpoint.foreign.FAMILIES`). A plain ViT without class token, as FLSL
    pretrains it, is a :class:`FLSLVisionTransformer`; every other runs in timm with all that its
    authors gave it, class token and registers among them.

    Args:
        source: A path or state dict; ``'timm:NAME'`` for a pretrained network that timm downloads;
            ``'random:ARCH/PATCH'``, such as ``'random:deit-small/16'``, or ``'random:timm/NAME'``
            for a network of that design with random weights; ``'random:PATH'`` for the design of a
            file with random weights.
        key: ``'teacher'`` (the default where a file has both) or ``'student'``.
        num_heads: Attention heads, where the file does not record them and they are not 64 wide.
        trust: Also read files that may execute code, see :func:`read_checkpoint`.
        seed: Of random weights. torch's global generator is left as it was.
        with_head: Also keep the network's projection head, as ``vit.head``, see :func:`build_head`.

    Returns:
        FrozenViT: With ``forward_tokens``, ``forward_features``, ``patch_size``, ``embed_dims``,
        ``num_prefix_tokens``, ``in_channels``, ``mean``, ``std`` and ``load_report``.

    Raises:
        CheckpointError: The file cannot be used, or its number of heads must be told.
    """
    random = isinstance(source, str) and source.startswith(RANDOM)
    if random:
        source = source[len(RANDOM) :]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit, opened = _build(source, key, num_heads, trust, random)
    if opened is not None:
        _take_statistics(vit, opened)
    if with_head:
        vit.head = None if random or opened is None else build_head(opened, key)
    return vit.eval().requires_grad_(False)


def _build(
    source: Source, key: str | None, num_heads: int | None, trust: bool, random: bool
) -> tuple[FrozenViT, Checkpoint | None]:
    """The network of a source, with random weights drawn now, and the file that it is from."""
    if isinstance(source, str) and source.startswith(TIMM[random]):
        return create_timm(source[len(TIMM[random]) :], pretrained=not random), None
    design, opened = _named_design(source) if random else None, None
    if design is None:
        opened = open_checkpoint(source, trust)
        with errors_about(opened.name):
            entries, report = take_network(opened, choose_network(opened, key), key)
            if not _is_ours(opened, entries):
                check_windows(opened.other)
                family = recorded_family(opened.other) or ''
                if family.startswith(TIMM[0]):
                    return _build_named(opened, family, report.network, random), opened
                return _build_foreign(opened, entries, report, num_heads, random), opened
        design = _read_design(opened, key, num_heads)
    vit = FLSLVisionTransformer(**design._asdict(), out_type='raw')
    vit.init_weights()
    if not random:
        vit.load_report = load_pretrained(vit, opened, key)
    vit.self_scale = recorded_scale(opened) if opened else None
    return vit, opened


def _take_statistics(vit: FrozenViT, found: Checkpoint) -> None:
    """Let a network expect the pixels that it was trained with, as far as its file records them.

    Raises:
        CheckpointError: It takes other channels than RGB, and they are not recorded.
    """
    recorded = recorded_statistics(found.other)
    if recorded is not None and len(recorded[0]) == vit.in_channels:
        vit.mean, vit.std = recorded
    elif vit.in_channels != len(vit.mean):
        raise CheckpointError(
            f'{found.name}: takes images of {vit.in_channels} channels and does not record their '
            'mean and deviation: take the checkpoint as training wrote it'
        )


def _is_ours(found: Checkpoint, entries: dict[str, Entry]) -> bool:
    """Whether :class:`FLSLVisionTransformer` is the network of a file.

    timm's networks without class token (SigLIP) have the names of ours that were converted for
    timm; those say so, or have our fixed table of positions.
    """
    if not is_plain(found, entries):
        return False
    if 'source_layout' in (found.other.get('meta') or ()):
        return True
    table = entries['pos_embed'].tensor if 'pos_embed' in entries else None
    if found.layout.name != 'timm' or table is None:
        return True
    if table.ndim != 3 or isqrt(table.shape[1]) ** 2 != table.shape[1] or table.shape[2] % 4:
        return True  # refused with a reason
    return _is_our_table(table)


def _is_our_table(table: Tensor) -> bool:
    """Whether positions (1, N, D) are FLSL's fixed ones, without rows for prefix tokens."""
    if table.ndim != 3 or isqrt(table.shape[1]) ** 2 != table.shape[1] or table.shape[2] % 4:
        return False
    fixed = sincos_position_embedding((isqrt(table.shape[1]),) * 2, table.shape[2])
    return torch.allclose(table.float(), fixed, atol=1e-2)  # stored in half precision, perhaps


def _build_named(found: Checkpoint, family: str, network: str, random: bool) -> TimmViT:
    """A network that timm has by its name, as training here left it."""
    vit = create_timm(family.removeprefix(TIMM[0]), pretrained=False)
    if not random:
        entries = found.select(found.layout.networks[network])
        load_named(vit, {name: entry.tensor for name, entry in entries.items()})
    return vit


def _build_foreign(
    found: Checkpoint,
    entries: dict[str, Entry],
    report: LoadReport,
    num_heads: int | None,
    random: bool,
) -> TimmViT:
    """The network of a file in timm."""
    foreign = convert_foreign(found, entries, report)
    if 'pos_embed' in entries and _is_our_table(entries['pos_embed'].tensor):
        foreign = foreign._replace(family=CLASS_TOKEN)
    kernel = foreign.tensors.get('patch_embed.proj.weight')
    if kernel is None or kernel.ndim != 4:
        raise CheckpointError('lacks a backbone parameter: patch_embed.proj.weight')
    heads = _choose_heads(found, report, kernel.shape[0], num_heads)
    vit = build_foreign(foreign, heads, report, random)
    if not random:
        report_rest(found, report)
        log_report(report)
        vit.load_report = report
    mean = ', '.join(f'{value:.1f}' for value in vit.mean)
    print_log(
        f'{found.name}: runs in timm as {foreign.family.name}, '
        f'{vit.num_prefix_tokens} prefix tokens, pixels with a mean of {mean} as is usual for it',
        logger='current',
    )
    return vit


def _named_design(text: str) -> Design | None:
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
    return Design(arch, size, _IMAGE // size * size)


def read_design(source: Source, key: str | None = None, trust: bool = False) -> Design:
    """The design of a file of FLSL's network: what a detector's backbone must be to take it.

    Args:
        source: As of :func:`~flsl_mm.checkpoint.load_pretrained`.
        key: ``'teacher'`` or ``'student'``.
        trust: Also read files that may execute code.

    Raises:
        CheckpointError: The file cannot be read, or its network is not of FLSL's design.
    """
    found = open_checkpoint(source, trust)
    with errors_about(found.name):
        entries, _ = take_network(found, choose_network(found, key), key)
        if not _is_ours(found, entries):
            raise CheckpointError(
                "is no network of FLSL's design, so the backbone's settings do not follow from it: "
                'take the config of that network'
            )
    return _read_design(found, key, None)


def _read_design(found: Checkpoint, key: str | None, num_heads: int | None) -> Design:
    """The design that the weights of a file have."""
    with errors_about(found.name):
        entries, report = take_network(found, choose_network(found, key), key)
        parameters = Target.own(entries).parameters
        side = _grid_side(parameters['pos_embed'])
        width = parameters['pos_embed'].shape[-1]
        heads = _choose_heads(found, report, width, num_heads)
    patch_size = parameters['patch_embed.projection.weight'].shape[-1]
    arch = dict(
        embed_dims=width,
        num_layers=num_layers(parameters),
        num_heads=heads,
        feedforward_channels=parameters['layers.0.ffn.layers.0.0.weight'].shape[0],
    )
    channels = parameters['patch_embed.projection.weight'].shape[1]
    return Design(arch, patch_size, side * patch_size, channels)


def _choose_heads(found: Checkpoint, report: LoadReport, width: int, told: int | None) -> int:
    """Attention heads: told, recorded, or the usual ones with a warning.

    Raises:
        CheckpointError: They do not divide the width, contradict the file, or cannot be told.
    """
    heads = told
    if heads is None:
        heads = report.num_heads or _usual_heads(width, found.layout.name)
    if heads < 1 or width % heads:
        raise CheckpointError(f'{heads} attention heads do not divide its width of {width}')
    check_heads(heads, report.num_heads)
    if report.num_heads is None and told is None:
        print_log(
            f'{found.name} does not record its attention heads: taking {heads}, {_HEAD_WIDTH} wide '
            'each',
            logger='current',
            level=logging.WARNING,
        )
    return heads


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

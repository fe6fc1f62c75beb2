"""Converting any known checkpoint to mmpretrain's or timm's layout."""

import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint_error import CheckpointError, errors_about
from .layouts import Checkpoint
from .load_report import LoadReport
from .loading import choose_network, open_checkpoint, report_rest, take_network
from .matching import Target, check_values, match
from .names import Entry, to_timm_name
from .recorded import recorded_network
from .writing import check_destination, write_checkpoint

_WEIGHT_NORM = re.compile(r'last_layer\.(weight_(g|v)|parametrizations\.weight\.original(0|1))$')
_HEAD = re.compile(r'mlp\.\d+\.(weight|bias)$|prototypes\.weight$|center$')


def convert_checkpoint(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    to: str,
    key: str | None = None,
    trust: bool = False,
    force: bool = False,
) -> LoadReport:
    """Write a checkpoint in another layout.

    A released FLSL file or one of ours becomes, without ``key`` and ``to='mmpretrain'``, the whole
    model for ``load_from``: ``backbone.``, ``head.``, ``teacher.backbone.``, ``teacher.head.``.
    Everything else becomes one backbone: position table without class row, no head.

    Args:
        source: File in any known layout.
        destination: ``.pth`` or ``.safetensors``.
        to: ``'mmpretrain'`` or ``'timm'``.
        key: Network to take, ``'teacher'`` or ``'student'``.
        trust: See :func:`read_checkpoint`.
        force: Replace an existing destination.

    Returns:
        LoadReport: What became of every key.

    Raises:
        CheckpointError: The source cannot be used or the destination not written. The destination
            is written whole or not at all.
    """
    destination = Path(destination)
    check_destination(destination, force, source)
    if to not in ('mmpretrain', 'timm'):
        raise CheckpointError(f"can convert to 'mmpretrain' or 'timm', not to {to!r}")
    found = open_checkpoint(source, trust)
    with errors_about(found.name):
        if to == 'mmpretrain' and key is None and found.layout.heads is not None:
            tensors, meta, report = extract_model(found)
        else:
            tensors, meta, report = extract_backbone(found, key)
    if to == 'timm':
        tensors = {to_timm_name(parameter): tensor for parameter, tensor in tensors.items()}
    write_checkpoint(destination, tensors, meta, flat=to == 'timm')
    return report


def extract_backbone(
    found: Checkpoint, key: str | None
) -> tuple[dict[str, Tensor], dict[str, Any], LoadReport]:
    """One network's plain ViT under our names, its settings and the report.

    Raises:
        CheckpointError: The network is absent, incomplete or no plain ViT.
    """
    entries, report = take_network(found, choose_network(found, key), key)
    tensors = match(entries, Target.own(entries), report)
    report_rest(found, report)
    settings = _settings(tensors['patch_embed.projection.weight'], report)
    if report.network == 'backbone':  # converted before, perhaps
        settings['network'] = recorded_network(found.other) or 'backbone'
    return tensors, settings, report


def extract_model(found: Checkpoint) -> tuple[dict[str, Tensor], dict[str, Any], LoadReport]:
    """Student and teacher with their heads, named as in :class:`FLSL`, settings and report.

    Raises:
        CheckpointError: A network or head is absent, incomplete or unfit.
    """
    whole = LoadReport(found.name, found.layout.name, 'both')
    tensors: dict[str, Tensor] = {}
    for network, prefix in (('student', ''), ('teacher', 'teacher.')):
        if network not in found.networks():
            raise CheckpointError(
                f'holds no {network}; --key {found.networks()[0]} takes the other backbone'
            )
        entries, report = take_network(found, network)
        backbone = match(entries, Target.own(entries), report)
        head = match_head(found.select(found.layout.heads[network]), report)
        parts = {f'backbone.{n}': t for n, t in backbone.items()}
        tensors.update({f'{prefix}{n}': t for n, t in {**parts, **head}.items()})
        for name, parameter in report.used.items():
            inside = '' if parameter.startswith('head.') else 'backbone.'
            whole.used[name] = f'{prefix}{inside}{parameter}'
        whole.resized.update({f'{prefix}backbone.{n}': how for n, how in report.resized.items()})
        whole.ignored.update(report.ignored)
        whole.num_heads = report.num_heads
    report_rest(found, whole)
    return tensors, _settings(tensors['backbone.patch_embed.projection.weight'], whole), whole


def match_head(entries: dict[str, Entry], report: LoadReport) -> dict[str, Tensor]:
    """The parameters of :class:`FLSLHead`, under ``head.``, from the entries of a head in a file.

    Raises:
        CheckpointError: The head is absent, incomplete, or has what FLSLHead lacks: its prototypes
            have no gain, so it must be 1.
    """
    head = {}
    for name, (tensor, keys) in entries.items():
        check_values(keys[0], tensor)
        norm = _WEIGHT_NORM.match(name)
        if norm and (norm[2] == 'g' or norm[3] == '0'):
            if not bool((tensor == 1).all()):
                raise CheckpointError(f'{keys[0]} is not all ones: FLSLHead has no gain')
            report.ignored[keys[0]] = 'gain of the prototypes, all ones as in FLSLHead'
            continue
        name = 'prototypes.weight' if norm else name
        if not _HEAD.match(name):
            raise CheckpointError(f'{keys[0]} has no place in FLSLHead')
        head[f'head.{name}'] = tensor
        report.used[keys[0]] = f'head.{name}'
    if not {'head.mlp.0.weight', 'head.prototypes.weight'} <= head.keys():
        raise CheckpointError(f'lacks the head of the {report.network}; use --key for backbones')
    return head


def _settings(kernel: Tensor, report: LoadReport) -> dict[str, Any]:
    """What the next reader should know: written beside the weights."""
    settings = dict(
        network=report.network, source_layout=report.layout, patch_size=kernel.shape[-1]
    )
    return settings if report.num_heads is None else dict(settings, num_heads=report.num_heads)

"""Checkpoints for others: converted to another layout, or published without what trained them."""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..utils.errors import CheckpointError, errors_about
from ..version import __version__
from .files import check_destination, write_checkpoint, write_whole
from .layouts import (
    Checkpoint,
    Entry,
    config_value,
    recorded_family,
    recorded_network,
    recorded_statistics,
    to_timm_name,
)
from .loading import choose_network, open_checkpoint, report_rest, take_network
from .matching import Target, check_values, match
from .report import LoadReport

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
        if family := recorded_family(found.other):
            raise CheckpointError(
                f'holds a {family} network, which no such file can: --to timm with a folder as DST '
                'writes it for timm, and publish_model.py takes it out'
            )
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

    Another project's network that went on training here is taken as it is, under timm's names.

    Raises:
        CheckpointError: The network is absent or incomplete, or neither of these.
    """
    entries, report = take_network(found, choose_network(found, key), key)
    family = recorded_family(found.other)
    if family is None:
        tensors = match(entries, Target.own(entries), report)
        kernel = tensors['patch_embed.projection.weight']
    else:  # as it is: the names of timm's model, and what they do not say
        entries = found.select(found.layout.networks[report.network])
        tensors = {name: entry.tensor for name, entry in entries.items()}
        kernel = tensors['patch_embed.proj.weight']
        report.used.update({key: name for name, entry in entries.items() for key in entry.keys})
    report_rest(found, report)
    settings = _network_settings(found, kernel, report)
    if family is not None:
        settings['family'] = family
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
    return (
        tensors,
        _network_settings(found, tensors['backbone.patch_embed.projection.weight'], whole),
        whole,
    )


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


def _network_settings(found: Checkpoint, kernel: Tensor, report: LoadReport) -> dict[str, Any]:
    """What the next reader should know: written beside the weights."""
    settings = dict(
        network=report.network, source_layout=report.layout, patch_size=kernel.shape[-1]
    )
    if report.num_heads is not None:
        settings['num_heads'] = report.num_heads
    if (statistics := recorded_statistics(found.other)) is not None:
        settings['mean'], settings['std'] = map(list, statistics)
    return settings


def publish_model(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    key: str | None = None,
    trust: bool = False,
    force: bool = False,
) -> tuple[Path, LoadReport]:
    """Write only the backbone of a checkpoint, and a JSON of where it comes from.

    Args:
        source: File in any known layout.
        destination: ``DIR/NAME.pth`` (or ``.safetensors``) becomes ``DIR/NAME-xxxxxxxx.pth`` with
            the first 8 digits of the file's sha256, and ``DIR/NAME-xxxxxxxx.json``.
        key: Network to take, the teacher by default.
        trust: See :func:`read_checkpoint`.
        force: Replace existing files.

    Returns:
        tuple: Path of the weights, and the report.

    Raises:
        CheckpointError: The source cannot be used or the destination not written.
    """
    source, destination = Path(source), Path(destination)
    check_destination(destination, force=True)
    found = open_checkpoint(source, trust)
    with errors_about(found.name):
        tensors, settings, report = extract_backbone(found, key)

    draft = destination.with_name(f'.{destination.stem}-{os.getpid()}{destination.suffix}')
    try:
        write_checkpoint(draft, tensors, settings, flat=False)
        digest = sha256(draft)
        final = destination.with_name(f'{destination.stem}-{digest[:8]}{destination.suffix}')
        check_destination(final, force)
        origin = dict(
            **settings, **_origin(found.other), sha256=digest, source_sha256=sha256(source)
        )
        text = json.dumps(origin, indent=1, default=str)
        write_whole(final.with_suffix('.json'), lambda part: part.write_text(text))
        os.replace(draft, final)
    finally:
        draft.unlink(missing_ok=True)
    return final, report


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _origin(other: Mapping[str, Any]) -> dict[str, Any]:
    """Config, epoch, iteration, data and versions that the checkpoint records; None where not."""
    meta = other.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    args = other.get('args')
    settings = vars(args) if isinstance(args, argparse.Namespace) else {}
    config = meta.get('cfg')
    return dict(
        config=config if config is not None else settings or None,
        epoch=meta.get('epoch', other.get('epoch')),
        iter=meta.get('iter'),
        data_root=_find_entry(config_value(config, 'train_dataloader'), 'data_root')
        or settings.get('data_path'),
        experiment=meta.get('experiment_name'),
        mmengine_version=meta.get('mmengine_version'),
        flsl_mm_version=__version__,
    )


def _find_entry(value: Any, name: str) -> Any:
    """The first entry called ``name`` in nested dicts and lists."""
    if isinstance(value, dict):
        if value.get(name) is not None:
            return value[name]
        value = list(value.values())
    if isinstance(value, list):
        return next((v for v in (_find_entry(part, name) for part in value) if v is not None), None)
    return None

"""Loading any known checkpoint into a backbone, strictly."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import CheckpointError, errors_about
from ..utils.modules import unwrap_model
from .files import read_checkpoint
from .foreign import TIMM, convert_foreign
from .layouts import Checkpoint, Entry, identify, recorded_heads, recorded_network, to_our_names
from .matching import Target, match
from .report import LoadReport, log_report
from .timm_models import create_model

Source = str | os.PathLike | Mapping[str, Any] | Checkpoint


def load_pretrained(
    module: nn.Module, source: Source, key: str | None = None, trust: bool = False
) -> LoadReport:
    """Load a pretrained ViT into a backbone, or stop without touching it.

    Args:
        module: ``FLSLVisionTransformer``, ``ViTFPN``, ``ViTDet`` or ``ViTMap``.
        source: Path or state dict in any layout of :data:`~flsl_mm.checkpoint.layouts.LAYOUTS`,
            ``'timm:NAME'`` for what timm downloads under that name, or what
            :func:`open_checkpoint` gave for it.
        key: ``'teacher'`` or ``'student'``. Files of one network need none. Without it the teacher
            is taken (of MoCo v3 the momentum encoder). In files with averaged weights beside the
            raw ones also the entry, such as ``'model_ema'`` or ``'model'``; the teacher is the one
            that timm takes.
        trust: Also read files that may execute code, see :func:`read_checkpoint`.

    Returns:
        LoadReport: What became of every key; also logged.

    Raises:
        CheckpointError: The file cannot be read or does not cover and fit the backbone.
    """
    found = open_checkpoint(source, trust)
    with errors_about(found.name):
        network = choose_network(found, key)
        entries, report = take_network(found, network, key)
        trunk = getattr(module, 'trunk', None)
        if trunk is None:
            target = Target.of(module)
            tensors = match(entries, target, report)
            with torch.no_grad():
                for parameter, tensor in tensors.items():
                    target.parameters[parameter].copy_(tensor)
        else:
            trunk.load(convert_foreign(found, entries, report), report)
        report_rest(found, report)
    log_report(report)
    return report


def open_checkpoint(source: Source, trust: bool) -> Checkpoint:
    """Read a source and recognize its layout; one that is open already is left as it is.

    Args:
        source: As of :func:`load_pretrained`.
        trust: See :func:`read_checkpoint`.

    Raises:
        CheckpointError: The file cannot be read, or is in no known layout.
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, Mapping):
        name, checkpoint = 'state dict', source
    else:
        name = str(source)
        if name.startswith(TIMM):
            with errors_about(name):
                model = create_model(name.removeprefix(TIMM), pretrained=True)
            checkpoint = model.state_dict()
        else:
            checkpoint = read_checkpoint(source, trust)
    with errors_about(name):
        return identify(checkpoint, name)


def choose_network(found: Checkpoint, key: str | None) -> str:
    """The network that ``key`` stands for, the default one where it is None.

    Raises:
        CheckpointError: The file has no such network.
    """
    networks = found.networks()
    if key in networks:
        return key
    if key in found.states:  # of a state with two networks the default one
        named = [n for n in networks if n.startswith(f'{key}.')]
        return named[0] if named else networks[0]
    if key not in (None, 'teacher', 'student'):
        named = ', '.join(
            map(repr, dict.fromkeys(('teacher', 'student', *networks, *found.states)))
        )
        raise CheckpointError(f'key must be one of {named}, got {key!r}')
    # The averaged weights are a teacher's, those they average a student's.
    if networks[0] in found.states:
        if key == 'student' and len(networks) > 2:
            raise CheckpointError(f'holds {", ".join(networks)}: name one of them as key')
        return networks[min(key == 'student', len(networks) - 1)]
    if 'backbone' in networks:
        origin = recorded_network(found.other)
        if key is not None and origin not in (None, key):
            raise CheckpointError(f'holds the {origin} only, not the {key}')
    if 'backbone' in networks or key is None:
        return networks[0]
    if key not in networks:
        raise CheckpointError(f'holds no {key}, only the {networks[0]}')
    return key


def take_network(
    found: Checkpoint, network: str, key: str | None = None
) -> tuple[dict[str, Entry], LoadReport]:
    """One network's tensors under our names, and a report to be filled in."""
    entries = to_our_names(found.select(found.layout.networks[network]))
    report = LoadReport(found.name, found.layout.name, network)
    if network == 'backbone' or len(found.networks()) == 1:
        report.note = 'the only one in the file'
    elif key is None:
        report.note = 'the default; in the file: ' + ', '.join(found.networks())
    if 'pos_embed' in entries and entries['pos_embed'].tensor.ndim:
        width = entries['pos_embed'].tensor.shape[-1]
    else:  # rotary positions
        kernel = entries.get('patch_embed.projection.weight')
        width = len(kernel.tensor) if kernel is not None and kernel.tensor.ndim else None
    if width is not None:
        report.num_heads = recorded_heads(found.other, found.layout.name, width)
    return entries, report


def report_rest(found: Checkpoint, report: LoadReport) -> None:
    """Report what no network taken from the file accounts for."""
    owner = f"{report.network}'s " if report.network in ('teacher', 'student') else ''
    for entry in found.entries.values():
        for key in entry.keys:
            if key not in report.used:
                report.ignored.setdefault(key, f'outside the {owner}backbone')
    report.ignored.update(dict.fromkeys(map(str, found.other), 'no weights'))


_NAMED = 5  # keys that a message names


def load_model(
    module: nn.Module,
    path: str | os.PathLike,
    trust: bool = False,
    on_read: Callable[[dict[str, Any]], Any] | None = None,
) -> dict[str, Any]:
    """Load a checkpoint of training into the model it was made from, or stop without touching it.

    mmengine itself only warns about keys that are missing, left over or of another shape, and then
    trains or evaluates random weights.

    Args:
        module: The model, also wrapped for distributed running. Its ``complete_state_dict``, where
            it has one, may add what follows from the rest (the teacher of :class:`FLSL`).
        path: Checkpoint with a ``state_dict``, as mmengine writes them, or a bare state dict.
        trust: See :func:`read_checkpoint`.
        on_read: Called with what the file holds before anything of it is loaded; may change it.

    Returns:
        dict: What the file holds.

    Raises:
        CheckpointError: The file cannot be read, or its keys are not exactly those of the model.
    """
    module = unwrap_model(module)
    checkpoint = read_checkpoint(path, trust)
    if on_read is not None:
        on_read(checkpoint)
    found: Mapping[str, Tensor] = checkpoint.get('state_dict', checkpoint)
    found = {name.removeprefix('module.'): tensor for name, tensor in found.items()}
    if hasattr(module, 'complete_state_dict'):
        module.complete_state_dict(found)
    wanted = module.state_dict()
    problems = {
        'missing': [n for n in wanted if n not in found],
        'unexpected': [n for n in found if n not in wanted],
        'of another shape': [
            f'{n} {tuple(found[n].shape)} instead of {tuple(t.shape)}'
            for n, t in wanted.items()
            if n in found and found[n].shape != t.shape
        ],
    }
    if any(problems.values()):
        listed = '; '.join(
            f'{len(names)} {problem}: {", ".join(names[:_NAMED])}'
            + (', ...' if len(names) > _NAMED else '')
            for problem, names in problems.items()
            if names
        )
        raise CheckpointError(f'{path}: does not fit the config ({listed})')
    module.load_state_dict(found)
    return checkpoint

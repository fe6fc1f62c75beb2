"""The projection head that a checkpoint holds."""

import math
from collections.abc import Mapping

import torch
from mmengine.logging import print_log

from ..checkpoint import CheckpointError, LoadReport
from ..checkpoint.converting import match_head
from ..checkpoint.layouts import Checkpoint, config_value
from ..checkpoint.loading import Source, choose_network, open_checkpoint
from ..utils.errors import errors_about
from .heads.prototype_head import PrototypeHead


def build_head(source: Source, key: str | None = None, trust: bool = False) -> PrototypeHead | None:
    """Build the projection head of a network, in evaluation mode and without gradients.

    Args:
        source: As of :func:`~flsl_mm.checkpoint.load_pretrained`.
        key: ``'teacher'`` (the default where a file has both) or ``'student'``.
        trust: Also read files that may execute code, see :func:`read_checkpoint`.

    Returns:
        PrototypeHead | None: Without objective; None where the file holds no head that FLSL or this
        project's DINO trained. Its ``self_scale`` is what the file records.

    Raises:
        CheckpointError: The file cannot be used, or its head is incomplete.
    """
    found = open_checkpoint(source, trust)
    with errors_about(found.name):
        network = choose_network(found, key)
        entries = found.select((found.layout.heads or {}).get(network, '(?!)'))
        if not entries:
            return None
        tensors = match_head(entries, LoadReport(found.name, found.layout.name, network))
    tensors = {key.removeprefix('head.'): tensor for key, tensor in tensors.items()}
    first, prototypes = tensors['mlp.0.weight'], tensors['prototypes.weight']
    with torch.random.fork_rng(devices=[]):
        head = PrototypeHead(
            in_channels=first.shape[1],
            num_prototypes=prototypes.shape[0],
            hidden_channels=first.shape[0],
            bottleneck_channels=prototypes.shape[1],
            num_layers=sum(key.startswith('mlp.') and key.endswith('.weight') for key in tensors),
            has_center='center' in tensors,
        )
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f'{found.name}: the head of the {network}: {reason}') from error
    head.self_scale = _recorded_scale(found)
    print_log(
        f'{found.name}: also the projection head of the {network}, {len(prototypes)} prototypes',
        logger='current',
    )
    return head.eval().requires_grad_(False)


def _recorded_scale(found: Checkpoint) -> float | None:
    """``self_scale`` of the neck: what it found, or in the config text of mmengine's files."""
    if 'neck.auto_scale' in found.entries:
        total, count, _ = found.entries['neck.auto_scale'].tensor.tolist()
        return math.exp(total / count) if count else None
    meta = found.other.get('meta')
    model = config_value(meta.get('cfg'), 'model') if isinstance(meta, Mapping) else None
    neck = model.get('neck') if isinstance(model, dict) else None
    scale = neck.get('self_scale') if isinstance(neck, dict) else None
    return float(scale) if isinstance(scale, (int, float)) else None

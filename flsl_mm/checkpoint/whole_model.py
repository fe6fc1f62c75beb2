"""Loading a whole trained model, strictly."""

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from flsl_mm.unwrap_model import unwrap_model

from .checkpoint_error import CheckpointError
from .reading import read_checkpoint

_NAMED = 5  # keys that a message names


def load_model(module: nn.Module, path: str | os.PathLike, trust: bool = False) -> dict[str, Any]:
    """Load a checkpoint of training into the model it was made from, or stop without touching it.

    mmengine itself only warns about keys that are missing, left over or of another shape, and then
    trains or evaluates random weights.

    Args:
        module: The model, also wrapped for distributed running. Its ``complete_state_dict``, where
            it has one, may add what follows from the rest (the teacher of :class:`FLSL`).
        path: Checkpoint with a ``state_dict``, as mmengine writes them, or a bare state dict.
        trust: See :func:`read_checkpoint`.

    Returns:
        dict: What the file holds.

    Raises:
        CheckpointError: The file cannot be read, or its keys are not exactly those of the model.
    """
    module = unwrap_model(module)
    checkpoint = read_checkpoint(path, trust)
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

"""Writing checkpoint files whole or not at all."""

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..whole_file import whole_file
from .checkpoint_error import CheckpointError


def check_destination(path: Path, force: bool, source: str | os.PathLike | None = None) -> None:
    """Refuse a destination before any work is done.

    Raises:
        CheckpointError: Unknown suffix, no such folder, the file ``source``, or an existing file
            without ``force``.
    """
    if path.suffix not in ('.pth', '.safetensors'):
        raise CheckpointError(f'{path}: the name must end in .pth or .safetensors')
    if not path.parent.is_dir():
        raise CheckpointError(f'{path}: there is no folder {path.parent}')
    if source is not None and path.exists() and os.path.exists(source) and path.samefile(source):
        raise CheckpointError(f'{path}: is the file to read, which would be lost: name another')
    check_absent(path, force)


def check_absent(path: Path, force: bool) -> None:
    """Refuse to replace a file without ``force``.

    Raises:
        CheckpointError: It exists.
    """
    if path.exists() and not force:
        raise CheckpointError(f'{path}: exists; pass --force (force=True) to replace it')


def write_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], flat: bool
) -> None:
    """Write tensors and what is known about them.

    Args:
        path: ``.safetensors`` (settings as its metadata) or ``.pth``.
        tensors: Tensor by name.
        meta: Settings: numbers and strings.
        flat: ``.pth`` as a bare state dict, as timm wants it, instead of mmengine's
            ``dict(meta=..., state_dict=...)``. Settings then go into the state dict's own
            ``_metadata``, which torch leaves alone.

    Raises:
        CheckpointError: The file cannot be written.
    """
    tensors = OrderedDict(
        (name, t.detach().cpu().contiguous().clone()) for name, t in tensors.items()
    )
    if path.suffix == '.safetensors':
        texts = {key: str(value) for key, value in meta.items()}
        write_whole(
            path, lambda part: save_file(tensors, part, metadata=dict(format='pt', **texts))
        )
    elif flat:
        tensors._metadata = OrderedDict({'': dict(version=1, **meta)})
        write_whole(path, lambda part: torch.save(tensors, part))
    else:
        content = dict(meta=dict(meta), state_dict=tensors)
        write_whole(path, lambda part: torch.save(content, part))


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a file beside ``path`` and move it there when it is complete.

    Raises:
        CheckpointError: The file cannot be written; nothing is left behind.
    """
    try:
        with whole_file(path) as draft:
            write(draft)
    except Exception as error:  # of the system, torch or safetensors
        reason = str(error).split('\n')[0]
        raise CheckpointError(f'{path}: cannot be written ({reason})') from error

"""Reading and writing checkpoint files, safely."""

import argparse
import os
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..utils.errors import CheckpointError, DataError
from ..utils.files import check_growth, check_unpacked, first_line, whole_file

# mmengine stores its log history beside the weights. Nothing here needs it, so these names become
# an inert object instead of being let in: `getattr`, which mmengine allows, reaches everything.
_NOT_READ = {
    'mmengine.logging.history_buffer': ('HistoryBuffer',),
    'numpy': ('ndarray', 'dtype'),
    'numpy.core.multiarray': ('_reconstruct', 'scalar'),
    'numpy._core.multiarray': ('_reconstruct', 'scalar'),
    'builtins': ('getattr', 'bytes'),
    '__builtin__': ('getattr', 'bytes'),
}


class _Inert:
    """Stands for an object of the file that is not read."""

    def __new__(cls, *args: Any) -> '_Inert':
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def read_checkpoint(path: str | os.PathLike, trust: bool = False) -> dict[str, Any]:
    """Read a ``.pth`` or ``.safetensors`` file to the CPU.

    Pickles are read with ``weights_only=True`` and a short allow-list (``argparse.Namespace``;
    log histories are skipped), so nothing in the file is executed. TorchScript archives, which are
    code, are refused before torch sees them. So is what would take far more memory than the file
    has bytes (:func:`check_growth`): compressed to nothing, or tensors that repeat what is stored.

    Args:
        path: The file.
        trust: Also accept files with other Python objects. **Such a file can execute any code.**

    Returns:
        dict: What the file holds; for ``.safetensors`` ``dict(meta=..., state_dict=...)``.

    Raises:
        CheckpointError: The file is missing, empty, truncated, foreign, or needs ``trust``.
    """
    path = Path(path)
    check_file(path)
    try:
        if path.suffix == '.safetensors' or _is_safetensors(path):
            checkpoint = _read_safetensors(path)
        else:
            checkpoint = _read_pickle(path, trust)
        taken = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(checkpoint))
        check_growth(taken, path.stat().st_size)
    except (CheckpointError, DataError) as error:
        raise CheckpointError(f'{path}: {error}') from None
    except Exception as error:  # torch, zipfile and pickle raise about anything on broken files
        raise CheckpointError(
            f'{path}: truncated, damaged or foreign file ({first_line(error)})'
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'{path}: holds a {type(checkpoint).__name__}, not a dict of tensors')
    return checkpoint


def _tensors(content: Any) -> Iterator[Tensor]:
    """The tensors of what a file holds, as often as they are in a dict or a list of it."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))  # a crafted file may hold it in itself, or a million times
            waiting.extend(value.values() if isinstance(value, Mapping) else value)


def check_file(path: str | os.PathLike) -> None:
    """Check that there is a file, without reading it.

    Raises:
        CheckpointError: It is missing, a folder, no regular file or empty.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f'{path}: is a folder, not a checkpoint file')
    if not path.is_file():
        what = 'is no regular file' if path.exists() else 'no such file'
        raise CheckpointError(f'{path}: {what}')
    if path.stat().st_size == 0:
        raise CheckpointError(f'{path}: the file is empty')


def _is_safetensors(path: Path) -> bool:
    """Whether a file of any name begins as safetensors do: the length of a header, its brace."""
    with path.open('rb') as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], 'little')
    return head[8:] == b'{' and length <= path.stat().st_size - 8


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safe_open(path, framework='pt') as file:
        tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}
        return dict(meta=file.metadata() or {}, state_dict=tensors)


def _read_pickle(path: Path, trust: bool) -> Any:
    with path.open('rb') as file:
        head = file.read(4)
    if path.suffix == '.pkl' or (head[:1] == b'\x80' and head != b'\x80\x02\x8a\n'):
        raise CheckpointError(
            'a bare Python pickle is never read, for it could execute code; if you trust its '
            'author, convert it with the lines of docs/checkpoints.md'
        )
    if not head.startswith((b'PK', b'\x80')):
        raise CheckpointError('is neither a torch checkpoint nor a .safetensors file')
    if head.startswith(b'PK'):
        _check_archive(path)
    if trust:
        return torch.load(path, map_location='cpu', weights_only=False)
    try:
        with _allow_list(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # about pickles that it then refuses
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        blocked = re.search(r'GLOBAL ([\w.]+)', str(error))
        detail = re.search(r'WeightsUnpickler error: (.*)', str(error))
        what = f'Python object {blocked[1]}' if blocked else detail[1] if detail else 'unknown'
        raise CheckpointError(
            f'needs more than weights ({what}), which could execute code; '
            'if you trust its author, pass --trust (trust=True in Python)'
        ) from error


def _check_archive(path: Path) -> None:
    """Refuse the zip of a torch file for its names and sizes, before torch reads it.

    Raises:
        CheckpointError: It is a TorchScript archive, which is code: torch < 2.6 runs it, even where
            it shall read weights only.
        DataError: It unpacks to far more than it has.
    """
    with zipfile.ZipFile(path) as archive:
        names = {name.partition('/')[2].lower() for name in archive.namelist()}
        # Of a crafted file torch may find other names than Python does.
        found = torch._C.PyTorchFileReader(os.fspath(path)).get_all_records()
        names.update(name.lower() for name in found)
        if any(name == 'constants.pkl' or name.startswith('code/') for name in names):
            raise CheckpointError(
                'is a TorchScript archive, which is code and never read; save the state_dict() of '
                'the model with torch.save instead'
            )
        check_unpacked(archive, path.stat().st_size)


def check_checksums(path: str | os.PathLike) -> None:
    """Check a checkpoint of mmengine against the checksums in it, which torch does not look at.

    Raises:
        CheckpointError: It is not what was written.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, os.path.getsize(path))
            wrong = archive.testzip()
    except Exception as error:  # zipfile and zlib raise about anything on broken files
        raise CheckpointError(f'{path}: is no whole checkpoint ({first_line(error)})') from error
    if wrong is not None:
        raise CheckpointError(f'{path}: is damaged, the checksum of {wrong} is wrong')


def _allow_list() -> AbstractContextManager:
    """Context in which torch's safe unpickler knows our few names (torch >= 2.5)."""
    inert = [
        type(name, (_Inert,), dict(__module__=module))
        for module, names in _NOT_READ.items()
        for name in names
    ]
    if not hasattr(torch.serialization, 'safe_globals'):
        return nullcontext()
    return torch.serialization.safe_globals([argparse.Namespace, *inert])


def check_destination(
    path: Path,
    force: bool,
    source: str | os.PathLike | None = None,
    endings: tuple[str, ...] = ('.pth', '.safetensors'),
) -> None:
    """Refuse a destination before any work is done.

    Raises:
        CheckpointError: Unknown suffix, no such folder, the file ``source``, or an existing file
            without ``force``.
    """
    if path.suffix not in endings:
        raise CheckpointError(f'{path}: the name must end in {" or ".join(endings)}')
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
        write_whole(path, partial(_torch_save, tensors))
    else:
        content = dict(meta=dict(meta), state_dict=tensors)
        write_whole(path, partial(_torch_save, content))


def _torch_save(content: Any, path: Path) -> None:
    """``torch.save`` to an open file: given a path, it puts the name of the draft into the file."""
    with path.open('wb') as file:
        torch.save(content, file)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a file beside ``path`` and move it there when it is complete.

    Raises:
        CheckpointError: The file cannot be written; nothing is left behind.
    """
    try:
        with whole_file(path) as draft:
            write(draft)
    except Exception as error:  # of the system, torch or safetensors
        raise CheckpointError(f'{path}: cannot be written ({first_line(error)})') from error

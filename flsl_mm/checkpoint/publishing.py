"""Publishing a backbone: small, named by its content, with its origin beside it."""

import argparse
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..version import __version__
from .checkpoint_error import errors_about
from .converting import extract_backbone
from .load_report import LoadReport
from .loading import open_checkpoint
from .recorded import config_value
from .writing import check_destination, write_checkpoint, write_whole


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
        data_root=_find(config_value(config, 'train_dataloader'), 'data_root')
        or settings.get('data_path'),
        experiment=meta.get('experiment_name'),
        mmengine_version=meta.get('mmengine_version'),
        flsl_mm_version=__version__,
    )


def _find(value: Any, name: str) -> Any:
    """The first entry called ``name`` in nested dicts and lists."""
    if isinstance(value, dict):
        if value.get(name) is not None:
            return value[name]
        value = list(value.values())
    if isinstance(value, list):
        return next((v for v in (_find(part, name) for part in value) if v is not None), None)
    return None

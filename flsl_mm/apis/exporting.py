"""Encoders for other programs: a folder that timm opens, an ONNX file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..checkpoint.files import check_absent, check_destination
from ..checkpoint.foreign import TIMM
from ..checkpoint.layouts import to_timm_name
from ..checkpoint.timm_models import timm_module
from ..datasets.image_channels import COLORS
from ..models import FLSLVisionTransformer, FrozenViT, build_vit
from ..models.backbones.timm_vit import TimmViT
from ..utils.errors import CheckpointError
from ..utils.files import first_line, whole_file, whole_folder
from .any_size import AnySizeEncoder

ROTARY = 'vit_small_patch16_dinov3'
MOST_PATCHES = 4096  # along a side, of images of any size
TOLERANCE = 1e-4  # of outputs of the exported network, absolute and relative


class Encoder(nn.Module):
    """A frozen network as one function of normalized images (B, 3, H, W).

    Patch tokens (B, N, D), and where there are any the prefix tokens (B, P, D), after the final
    norm.
    """

    def __init__(self, vit: FrozenViT) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encode."""
        tokens, prefix = self.vit.forward_features(images)
        return (tokens, prefix) if self.vit.num_prefix_tokens else (tokens,)


def export_network(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    to: str,
    key: str | None = None,
    num_heads: int | None = None,
    size: tuple[int, int] | None = None,
    trust: bool = False,
    force: bool = False,
    any_size: bool = False,
) -> dict[str, Any]:
    """Write the encoder of a checkpoint for another program, whole or not at all.

    What was written is run, and must give what the network gives, to 1e-4.

    Args:
        source: What :func:`build_vit` reads.
        destination: A folder for timm, a ``.onnx`` file.
        to: ``'timm'`` or ``'onnx'``.
        key: Network to take, ``'teacher'`` or ``'student'``.
        num_heads: Attention heads, where the file does not tell.
        size: Height and width in pixels of the images of an ONNX file; those of pretraining.
        trust: See :func:`~flsl_mm.checkpoint.read_checkpoint`.
        force: Replace what is there.
        any_size: Write an ONNX file for images of any size of whole patches, at least two along
            each side.

    Returns:
        dict: What the network expects and gives, and ``difference``, the largest that was found.

    Raises:
        CheckpointError: The source cannot be used or exported, or the destination not written.
    """
    path = Path(destination)
    if to == 'onnx':
        check_destination(path, force, source, ('.onnx',))
        _import_onnx()
    elif path.is_file():
        raise CheckpointError(f'{path}: is a file; a folder for timm needs another name')
    else:
        check_absent(path, force)
    vit = build_vit(os.fspath(source), key, num_heads, trust)
    size = size or native_size(vit)
    facts = dict(
        patch_size=vit.patch_size,
        embed_dims=vit.embed_dims,
        num_heads=vit.num_heads,
        prefix_tokens=vit.num_prefix_tokens,
        class_token=vit.has_class_token,
        size=list(size),
        mean=[round(value / 255, 6) for value in vit.mean],
        std=[round(value / 255, 6) for value in vit.std],
    )
    if any_size:
        facts['size'] = None
    write = _write_onnx if to == 'onnx' else _write_timm
    return dict(facts, difference=write(vit, facts, path))


def native_size(vit: FrozenViT) -> tuple[int, int]:
    """Height and width in pixels of the images that a network was trained on."""
    height, width = vit.img_size
    return int(height), int(width)


def _largest_difference(vit: FrozenViT, found: list[np.ndarray], images: Tensor) -> float:
    """Between what a network gives and what was found, over all outputs.

    Raises:
        CheckpointError: It is too large.
    """
    with torch.no_grad():
        wanted = [part.numpy() for part in Encoder(vit)(images)]
    difference = max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))
    if not all(np.allclose(a, b, TOLERANCE, TOLERANCE) for a, b in zip(found, wanted)):
        raise CheckpointError(
            f'the exported network differs from it by {difference:.2g}: parts of it cannot be '
            'expressed there'
        )
    return difference


def _samples(vit: FrozenViT, size: Sequence[int], number: int = 2) -> Tensor:
    """Images of noise (number, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, vit.in_channels, *size, generator=generator)


def _write_timm(vit: FrozenViT, facts: dict[str, Any], path: Path) -> float:
    """A folder for ``timm.create_model('local-dir:DIR', pretrained=True)``, checked by that."""
    with whole_folder(path) as draft:
        tensors = vit.model.state_dict() if isinstance(vit, TimmViT) else _timm_tensors(vit)
        tensors = {name: t.detach().contiguous().clone() for name, t in tensors.items()}
        save_file(tensors, draft / 'model.safetensors', metadata=dict(format='pt'))
        text = json.dumps(_timm_config(vit, facts), indent=2)
        (draft / 'config.json').write_text(text + '\n', encoding='utf-8')
        return _check_timm(vit, facts, draft)


def _timm_tensors(vit: FLSLVisionTransformer) -> dict[str, Tensor]:
    return {to_timm_name(name): tensor for name, tensor in vit.state_dict().items()}


def _timm_config(vit: FrozenViT, facts: dict[str, Any]) -> dict[str, Any]:
    """The content of ``config.json``: a design of timm's, what is other here, and the pixels."""
    if isinstance(vit, TimmViT):
        if vit.arguments is None:
            raise CheckpointError('timm has this network by its name: there is nothing to export')
        arguments = dict(vit.arguments)
        if vit.family.startswith(TIMM):
            own = dict(img_size=facts['size'])
            return _described(vit.family.removeprefix(TIMM), own, vit, facts)
    else:
        arguments = dict(
            img_size=facts['size'],
            patch_size=vit.patch_size,
            **({} if vit.in_channels == COLORS else dict(in_chans=vit.in_channels)),
            embed_dim=vit.embed_dims,
            depth=vit.depth,
            num_heads=vit.num_heads,
            mlp_ratio=(vit.layers[0].ffn.feedforward_channels + 0.5) / vit.embed_dims,  # cut off
            class_token=False,
            dynamic_img_size=True,
        )
    arguments.pop('num_classes', None)
    architecture = _architecture(vit)
    norm = 'use_fc_norm' if architecture == ROTARY else 'fc_norm'
    arguments.update({'global_pool': 'token' if vit.has_class_token else 'avg', norm: False})
    return _described(architecture, arguments, vit, facts)


def _architecture(vit: FrozenViT) -> str:
    """A network of timm's with layers of the same kinds, which arguments cannot name."""
    if not isinstance(vit, TimmViT):
        return 'vit_base_patch16_224'
    if isinstance(vit.model, timm_module('models').Eva):
        return ROTARY
    if not isinstance(vit.model.norm_pre, nn.Identity):
        return 'vit_base_patch16_clip_quickgelu_224'
    gated = isinstance(vit.model.blocks[0].mlp, timm_module('layers').GluMlp)
    return 'vit_giant_patch14_dinov2' if gated else 'vit_base_patch16_224'


def _described(
    architecture: str, arguments: dict[str, Any], vit: FrozenViT, facts: dict[str, Any]
) -> dict[str, Any]:
    """A design of timm's with other arguments, and the pixels that it expects."""
    pixels = dict(mean=facts['mean'], std=facts['std'], interpolation='bicubic', crop_pct=1.0)
    return dict(
        architecture=architecture,
        num_classes=0,
        num_features=vit.embed_dims,
        **{name: arguments[name] for name in ('global_pool',) if name in arguments},
        model_args=arguments,
        pretrained_cfg=dict(
            pixels,
            input_size=[vit.in_channels, *facts['size']],
            num_classes=0,
            first_conv='patch_embed.proj',
            classifier='head',
        ),
    )


def _check_timm(vit: FrozenViT, facts: dict[str, Any], folder: Path) -> float:
    """The largest difference of timm's network of a folder.

    Raises:
        CheckpointError: timm cannot make it, or it is another network.
    """
    try:
        model = timm_module('models').create_model(f'local-dir:{folder}', pretrained=True).eval()
    except Exception as error:  # of the design or of the weights, which are loaded strictly
        raise CheckpointError(
            f'timm cannot rebuild it from a folder ({first_line(error)})'
        ) from error
    images = _samples(vit, facts['size'])
    with torch.no_grad():
        tokens = model.forward_features(images).numpy()
    prefix = vit.num_prefix_tokens
    found = [tokens[:, prefix:], tokens[:, :prefix]] if prefix else [tokens]
    return _largest_difference(vit, found, images)


def _import_onnx() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime.

    Raises:
        CheckpointError: One is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise CheckpointError(
            f"--to onnx needs more packages ({error}): pip install 'flsl-mm[onnx]', or "
            'pip install onnx onnxruntime onnxscript'
        ) from error
    return onnx, onnxruntime


def _write_onnx(vit: FrozenViT, facts: dict[str, Any], path: Path) -> float:
    """An ONNX file for any number of images of one size or of any, checked by onnxruntime."""
    onnx, onnxruntime = _import_onnx()
    patch, dim = vit.patch_size, torch.export.Dim
    if facts['size'] is None:
        sides = (dim(name, min=2, max=MOST_PATCHES) for name in ('rows', 'columns'))
        shape = {0: dim('batch'), **{i: patch * side for i, side in enumerate(sides, 2)}}
        encoder, traced_with = AnySizeEncoder(vit), (5 * patch, 7 * patch)
        # Its own, one that is smaller along an axis, one that is larger
        checked = [native_size(vit), (3 * patch, 20 * patch), (24 * patch, 17 * patch)]
    else:
        shape, encoder, traced_with = {0: dim('batch')}, Encoder(vit), facts['size']
        checked = [facts['size']]
    with torch.no_grad():  # on its own, as the exporter of ONNX falls back to a fixed number
        traced = torch.export.export(
            encoder.eval(), (_samples(vit, traced_with),), dynamic_shapes=(shape,)
        )
    program = torch.onnx.export(
        traced,
        input_names=['images'],
        output_names=['tokens', 'prefix'][: 1 + bool(vit.num_prefix_tokens)],
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    for name, value in facts.items():
        model.metadata_props.add(key=name, value=json.dumps(value))
    with whole_file(path) as draft:
        onnx.save(model, draft)
        session = onnxruntime.InferenceSession(str(draft), providers=['CPUExecutionProvider'])
        differences = []
        for size in checked:
            images = _samples(vit, size, 3)  # another number than it was traced with
            found = session.run(None, dict(images=images.numpy()))
            differences.append(_largest_difference(vit, found, images))
        return max(differences)

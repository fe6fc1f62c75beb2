"""Foreign ViTs exactly as their authors meant them: a backbone on a model of timm's."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoint.foreign import (
    IMAGENET,
    SHARP,
    ForeignViT,
    Positions,
    Statistics,
    timm_arguments,
)
from ...checkpoint.report import LoadReport
from ...utils.errors import CheckpointError
from .frozen_vit import Block, FrozenViT, pad_to_patches


class TimmViT(FrozenViT, nn.Module):
    """timm's ``VisionTransformer`` or ``Eva`` with the position rule of whoever trained it.

    Everything between the embedding and the final norm is timm's own code: class and register
    tokens, LayerScale, rotary positions, biases, epsilons and the activation.

    Args:
        model: The model, with ``dynamic_img_size``.
        positions: How its position table is resampled.
        statistics: Of the pixels that it expects.
        arguments: Of the model, but for its layers, where it was made from them.

    Raises:
        CheckpointError: The model is of another kind.
    """

    def __init__(
        self,
        model: nn.Module,
        positions: Positions = SHARP,
        statistics: Statistics = IMAGENET,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.arguments = arguments
        self._timm = timm_module('models'), timm_module('layers')
        kinds = self._timm[0].VisionTransformer, self._timm[0].Eva
        if type(model) not in kinds or getattr(model, 'rope_mixed', False):
            raise CheckpointError(
                f"a {type(model).__name__} is not of timm's VisionTransformer or (axial) Eva kind"
            )
        self.model = model
        self.positions = positions
        self.mean, self.std = statistics
        self.patch_size = model.patch_embed.patch_size[0]
        self.embed_dims = model.embed_dim
        self.depth = len(model.blocks)
        self.num_heads = model.blocks[0].attn.num_heads
        self.num_prefix_tokens = model.num_prefix_tokens
        self.has_class_token = model.cls_token is not None

    @property
    def identity(self) -> str:
        """Part of cache keys."""
        return f'{super().identity} {self.positions} {self.mean} {self.std} {self.model!r}'

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Patch tokens (B, N, D) after the final norm, as a backbone's only output."""
        return (self.forward_features(images)[0],)

    def forward_tokens(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Patch tokens (B, N, D) after the final norm, of each view (B, 3, H, W)."""
        return [self.forward_features(view)[0] for view in images]

    def blocks_for(self, images: Tensor) -> tuple[Tensor, Iterator[Block]]:
        """What enters the first block (B, P + N, D), and the blocks, for images (B, 3, H, W)."""
        model = self.model
        x = model.patch_embed(pad_to_patches(images, self.patch_size))  # (B, h, w, D)
        grid, x = tuple(x.shape[1:3]), x.flatten(1, 2)
        table, rows = model.pos_embed, 0 if model.no_embed_class else self.num_prefix_tokens
        if table is not None:
            patches = resample_positions(
                table[:, rows:], model.patch_embed.grid_size, grid, self.positions
            )
            x = x + patches
        tokens = [t for t in (model.cls_token, model.reg_token) if t is not None]
        if tokens:
            prefix = torch.cat(tokens, dim=1)
            if rows and table is not None:
                prefix = prefix + table[:, :rows]
            x = torch.cat([prefix.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)
        rope = getattr(model, 'rope', None)
        rotation = {} if rope is None else dict(rope=rope.get_embed(shape=grid))
        return model.norm_pre(x), (
            (partial(block, **rotation), partial(self._queries_and_keys, block, **rotation))
            for block in model.blocks
        )

    def final(self, tokens: Tensor) -> Tensor:
        """The final norm."""
        return self.model.norm(tokens)

    def _queries_and_keys(
        self, block: nn.Module, x: Tensor, rope: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Of a block's attention, each (B, heads, P + N, d)."""
        attn, x = block.attn, block.norm1(x)
        if attn.qkv is None:
            q, k = attn.q_proj(x), attn.k_proj(x)
        else:
            q, k, _ = attn.qkv(x).chunk(3, dim=-1)
            if getattr(attn, 'q_bias', None) is not None:
                q = q + attn.q_bias
        q, k = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k))
        q, k = attn.q_norm(q), attn.k_norm(k)
        if rope is not None:
            turn = partial(
                self._timm[1].apply_rot_embed_cat,
                emb=rope,
                half=getattr(attn, 'rotate_half', False),
            )
            n = self.num_prefix_tokens
            q, k = (torch.cat([t[:, :, :n], turn(t[:, :, n:])], dim=2) for t in (q, k))
        return q, k


def resample_positions(
    table: Tensor, grid: tuple[int, int], target: tuple[int, int], rule: Positions
) -> Tensor:
    """Resample a table of positions (1, N, D) from one grid to another, bicubic.

    Returns:
        Tensor: (1, rows * columns, D), in the dtype of ``table``.
    """
    if tuple(grid) == tuple(target):
        return table
    maps = table.float().unflatten(1, grid).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    if rule.offset:
        size = dict(scale_factor=tuple((n + rule.offset) / m for n, m in zip(target, grid)))
    else:
        size = dict(size=target)
    with torch.autocast(table.device.type, enabled=False):
        maps = F.interpolate(
            maps, **size, mode='bicubic', align_corners=False, antialias=rule.antialias
        )
    return maps.flatten(2).transpose(1, 2).to(table.dtype)


def timm_module(name: str) -> ModuleType:
    """A module of timm's.

    Raises:
        CheckpointError: timm is not installed.
    """
    try:
        import timm.data
        import timm.layers
        import timm.models
    except ImportError as error:
        raise CheckpointError(
            f'needs the package timm, which cannot be imported ({error}): pip install timm'
        ) from error
    return getattr(timm, name)


def build_foreign(vit: ForeignViT, num_heads: int, report: LoadReport, random: bool) -> TimmViT:
    """The network of a file, strictly loaded.

    Args:
        vit: What the file holds.
        num_heads: Attention heads.
        report: Filled in.
        random: Leave the weights as they are initialized.

    Raises:
        CheckpointError: A parameter is missing, left over or of another shape.
    """
    models, layers = timm_module('models'), timm_module('layers')
    arguments = timm_arguments(vit, num_heads)
    plain = {name: value for name, value in arguments.items() if name != 'gated'}
    arguments['norm_layer'] = partial(nn.LayerNorm, eps=vit.family.eps)
    if vit.rotary:
        model = models.Eva(**arguments)
    else:
        if arguments.pop('gated'):
            arguments['mlp_layer'] = layers.SwiGLUPacked
            arguments['act_layer'] = nn.SiLU
        else:
            arguments['act_layer'] = vit.family.activation
        model = models.VisionTransformer(**arguments)
    if not random:
        _load(model, vit, report)
    if vit.periods is not None:
        if vit.periods.shape != model.rope.periods.shape:
            raise CheckpointError(
                f'its {len(vit.periods)} rotary periods do not fit {num_heads} attention heads'
            )
        model.rope.periods.copy_(vit.periods)
    return TimmViT(model, vit.family.positions, vit.family.statistics, plain)


def _load(model: nn.Module, vit: ForeignViT, report: LoadReport) -> None:
    """Load every tensor into its place, or stop without touching the model."""
    wanted = model.state_dict()
    lacking = [name for name in wanted if name not in vit.tensors]
    if lacking:
        shown = ', '.join(lacking[:3]) + (', ...' if len(lacking) > 3 else '')
        raise CheckpointError(f'lacks {len(lacking)} backbone parameters: {shown}')
    for name, tensor in vit.tensors.items():
        keys = vit.keys[name] or (name,)
        if name not in wanted:
            raise CheckpointError(
                f'has {keys[0]}, which a {vit.family.name} network has not: another architecture'
            )
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f'{keys[0]} makes {name} {tuple(tensor.shape)}, '
                f'expected {tuple(wanted[name].shape)}'
            )
        report.used.update(dict.fromkeys(vit.keys[name], name))
    model.load_state_dict(dict(vit.tensors))


def create_timm(name: str, pretrained: bool) -> TimmViT:
    """A network by timm's name.

    Raises:
        CheckpointError: There is no such network, it cannot be downloaded, or is of another kind.
    """
    models, data = timm_module('models'), timm_module('data')
    title = f'{"timm:" if pretrained else "random:timm/"}{name}'
    try:
        model = models.create_model(
            name, pretrained=pretrained, num_classes=0, dynamic_img_size=True
        )
    except Exception as error:  # of the registry, the hub, the network, or the model's arguments
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f'{title}: timm cannot make it ({reason})') from error
    config = data.resolve_model_data_config(model)
    scaled = Statistics(*(tuple(255 * v for v in config[key]) for key in ('mean', 'std')))
    try:
        return TimmViT(model, statistics=scaled)
    except CheckpointError as error:
        raise CheckpointError(f'{title}: {error}') from error

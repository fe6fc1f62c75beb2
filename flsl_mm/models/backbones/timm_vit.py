"""Foreign ViTs exactly as their authors meant them: a backbone on a model of timm's."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._device import DeviceContext

from ...checkpoint.foreign import (
    FAMILIES,
    IMAGENET,
    SHARP,
    TIMM,
    ForeignViT,
    Positions,
    Statistics,
    timm_arguments,
)
from ...checkpoint.matching import check_heads, resize_patch_embedding
from ...checkpoint.report import LoadReport
from ...checkpoint.timm_models import create_model, timm_module
from ...utils.errors import CheckpointError, ConfigError, errors_about, first_names
from ..layers.positions import check_sides, read_windows, rotary_in_windows
from .frozen_vit import Block, FrozenViT, pad_to_patches
from .timm_windows import Windows, windowed_block


class TimmViT(FrozenViT, nn.Module):
    """timm's ``VisionTransformer`` or ``Eva`` with the position rule of whoever trained it.

    Everything between the embedding and the final norm is timm's own code: class and register
    tokens, LayerScale, rotary positions, biases, epsilons and the activation.

    Args:
        model: The model, with ``dynamic_img_size``.
        positions: How its position table is resampled.
        statistics: Of the pixels that it expects.
        arguments: Of the model, but for its layers, where it was made from them.
        family: Whose network it is, as checkpoints of its training record it.

    Raises:
        CheckpointError: The model is of another kind.
    """

    def __init__(
        self,
        model: nn.Module,
        positions: Positions = SHARP,
        statistics: Statistics = IMAGENET,
        arguments: Mapping[str, Any] | None = None,
        family: str | None = None,
    ) -> None:
        super().__init__()
        self.arguments = arguments
        self.family = family
        models = timm_module('models')
        kinds = models.VisionTransformer, models.Eva
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
        self.windows: dict[int, int] = {}  # side in tokens by block, from 0; the rest is global
        self.has_class_token = model.cls_token is not None

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that its position table covers."""
        return tuple(self.model.patch_embed.img_size)

    @property
    def identity(self) -> str:
        """Part of cache keys."""
        return f'{super().identity} {self.positions} {self.mean} {self.std} {self.model!r}'

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Patch tokens (B, N, D) after the final norm, as a backbone's only output."""
        return (self.forward_features(images)[0],)

    def forward_tokens(
        self,
        images: Sequence[Tensor],
        with_prefix: bool = False,
        windows: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor]:
        """Tokens after the final norm of each view (B, 3, H, W).

        Args:
            images: The views.
            with_prefix: Whether the prefix tokens come first.
            windows: For each view where its images read their positions, see :meth:`blocks_for`.

        Returns:
            list[Tensor]: Patch tokens (B, N, D), or all (B, P + N, D).
        """
        windows = [None] * len(images) if windows is None else windows
        parts = map(self.forward_features, images, windows)
        return [torch.cat([p, t], dim=1) if with_prefix else t for t, p in parts]

    def blocks_for(
        self, images: Tensor, windows: Tensor | None = None
    ) -> tuple[Tensor, Iterator[Block]]:
        """What enters the first block (B, P + N, D), and the blocks, for images (B, 3, H, W).

        Args:
            images: The images.
            windows: Where each image reads the table or the rotary coordinates (B, 4), as
                :func:`.draw_windows` gives them; all of them by default.
        """
        model = self.model
        x = model.patch_embed(pad_to_patches(images, self.patch_size))  # (B, h, w, D)
        grid, x = tuple(x.shape[1:3]), x.flatten(1, 2)
        table, rows = model.pos_embed, 0 if model.no_embed_class else self.num_prefix_tokens
        if table is not None:
            own, size = table[:, rows:], model.patch_embed.grid_size
            if windows is None:
                x = x + resample_positions(own, size, grid, self.positions)
            else:
                x = x + read_windows(own, size, grid, windows)
        tokens = [t for t in (model.cls_token, model.reg_token) if t is not None]
        if tokens:
            prefix = torch.cat(tokens, dim=1)
            if rows and table is not None:
                prefix = prefix + table[:, :rows]
            x = torch.cat([prefix.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)
        rotation = self._rotation(grid, x.device, windows)
        cut = {
            size: Windows(grid, size, self.num_prefix_tokens, x.device, **rotation)
            for size in set(self.windows.values())
            if size < max(grid)
        }
        return model.norm_pre(x), (
            (
                partial(windowed_block, block, cut[size])
                if (size := self.windows.get(i)) in cut
                else partial(block, **rotation),
                partial(self._queries_and_keys, block, **rotation),
            )
            for i, block in enumerate(model.blocks)
        )

    def _rotation(
        self, grid: tuple[int, int], device: torch.device, windows: Tensor | None
    ) -> dict[str, Tensor]:
        """The argument ``rope`` of the blocks, where they have one."""
        rope = getattr(self.model, 'rope', None)
        if rope is None:
            return {}
        if windows is not None:
            return dict(rope=rotary_in_windows(rope.periods, grid, windows))
        with DeviceContext(device):  # timm makes coordinates on the default device
            return dict(rope=rope.get_embed(shape=grid))

    def read_in_windows(self, sides: Sequence[float] | None) -> None:
        """Let training read the positions in random windows.

        Args:
            sides: ``(low, high)``, shares of the side of all positions; None for never.

        Raises:
            ConfigError: That is no range inside (0, 1], its rotary positions are not DINOv3's, or
                it has no positions at all.
        """
        self.position_window = check_sides('PretrainedNetwork', sides)
        rope = getattr(self.model, 'rope', None)
        if sides is None or (rope is None and self.model.pos_embed is not None):
            return
        if rope is None or not (hasattr(rope, 'periods') and rope.rotate_half):
            found = 'network without positions' if rope is None else type(rope).__name__
            raise ConfigError(
                f'position_window={sides}: a {found} has no windows, only position tables and '
                'rotary positions as DINOv3 has them do: leave position_window out'
            )

    def final(self, tokens: Tensor) -> Tensor:
        """The final norm."""
        return self.model.norm(tokens)

    def stage_of(self, name: str) -> int:
        """0 for a parameter before the blocks, n in the n-th block, ``depth + 1`` after them."""
        if block := re.match(r'model\.blocks\.(\d+)\.', name):
            return int(block[1]) + 1
        return self.depth + 1 if name.startswith('model.norm.') else 0

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter among ``depth + 2``: 0 before the blocks, the last after them."""
        inside, after = param_name.startswith(prefix), self.depth + 1
        return self.stage_of(param_name.removeprefix(prefix)) if inside else after, after + 1

    @staticmethod
    def is_unused(name: str) -> bool:
        """Whether a parameter has no part in tokens: timm's heads that pool them."""
        return not re.match(
            r'model\.(patch_embed|blocks|norm|norm_pre)\.|model\.(pos_embed|cls_token|reg_token)$',
            name,
        )

    def keep_periods(self) -> None:
        """Put the periods of rotary positions into checkpoints, as they are.

        Those of a file differ from timm's own in their last digits, and must come back with what
        was trained from them.
        """
        if hasattr(getattr(self.model, 'rope', None), 'periods'):
            self.model.rope.register_buffer('periods', self.model.rope.periods, persistent=True)

    def freeze(self, stages: int) -> None:
        """Stop gradients of everything before the blocks and of the first ones; of all: the norm's.

        Args:
            stages: Number of blocks.
        """
        for name, parameter in self.named_parameters():
            if self.stage_of(name) <= stages or stages == self.depth:
                parameter.requires_grad = False
        for module in (self.model.patch_embed, *self.model.blocks[:stages]):
            module.eval()

    def load(self, vit: ForeignViT, report: LoadReport) -> None:
        """Load a file's network, or stop without touching this one.

        The patch embedding and the table of positions are resized.

        Args:
            vit: The network.
            report: Filled in.

        Raises:
            CheckpointError: It is another network.
        """
        family, own = vit.family, (self.positions, self.model.norm.eps)
        if own != (family.positions, family.eps) and not (vit.rotary and own[1] == family.eps):
            raise CheckpointError(
                f'is a network of the family {family.name!r}, whose positions or epsilon the trunk '
                f'has not: trunk=dict(family={family.name!r}, ...)'
            )
        check_heads(self.num_heads, report.num_heads)
        _load(self.model, vit, report, self.positions)

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
                timm_module('layers').apply_rot_embed_cat,
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
        _load(model, vit, report, vit.family.positions)
    elif vit.periods is not None:
        _set_periods(model, vit.periods)
    return TimmViT(model, vit.family.positions, vit.family.statistics, plain, vit.family.name)


def _load(model: nn.Module, vit: ForeignViT, report: LoadReport, rule: Positions) -> None:
    """Load every tensor into its place, or stop without touching the model."""
    wanted, tensors = dict(model.named_parameters()), dict(vit.tensors)
    if not any(_KEYLESS_BIAS.search(name) for name in tensors):
        for name in filter(_KEYLESS_BIAS.search, wanted):
            tensors[name] = torch.zeros_like(wanted[name])
            report.new[name] = 'zero, as the file has no such bias'
    lacking = [name for name in wanted if name not in tensors]
    if lacking:
        raise CheckpointError(f'lacks {len(lacking)} backbone parameters: {first_names(lacking)}')
    for name, tensor in vit.tensors.items():
        keys = vit.keys[name] or (name,)
        if name not in wanted:
            raise CheckpointError(
                f'has {keys[0]}, which a {vit.family.name} network has not: another architecture'
            )
        tensors[name] = _fit(name, tensor, model, rule)
        if tensors[name].shape != wanted[name].shape:
            raise CheckpointError(
                f'{keys[0]} makes {name} {tuple(tensor.shape)}, '
                f'expected {tuple(wanted[name].shape)}'
            )
        if tensors[name].shape != tensor.shape:
            report.resized[name] = f'{tuple(tensor.shape)} to {tuple(wanted[name].shape)}, bicubic'
        report.used.update(dict.fromkeys(vit.keys[name], name))
    if vit.periods is not None:
        _set_periods(model, vit.periods)
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])


_KEYLESS_BIAS = re.compile(r'\.attn\.[qv]_bias$')


def _fit(name: str, tensor: Tensor, model: nn.Module, rule: Positions) -> Tensor:
    """A tensor resized to the patches or the grid of a model, where it is of that kind."""
    embed = model.patch_embed
    if name == 'patch_embed.proj.weight' and tensor.ndim == 4:
        same = tuple(tensor.shape[2:]) == tuple(embed.patch_size)
        return tensor if same else resize_patch_embedding(tensor, tuple(embed.patch_size))
    if name == 'pos_embed' and tensor.ndim == 3:
        side = isqrt(tensor.shape[1])
        return resample_positions(tensor, (side, side), embed.grid_size, rule)
    return tensor


def _set_periods(model: nn.Module, periods: Tensor) -> None:
    """Periods of the rotary positions."""
    if periods.shape != model.rope.periods.shape:
        raise CheckpointError(
            f'its {len(periods)} rotary periods do not fit {model.blocks[0].attn.num_heads} '
            'attention heads'
        )
    model.rope.periods.copy_(periods)


def build_trunk(
    name: str, family: str, window_size: int = 0, global_indices: Sequence[int] = (), **arguments
) -> TimmViT:
    """A network to fine-tune, with random weights.

    Args:
        name: timm's, of a network of the same kind: with its prefix tokens, LayerScale, rotary
            positions, gates.
        family: Of the weights, by its name in :data:`~flsl_mm.checkpoint.foreign.FAMILIES`.
        window_size: Side in tokens of windows that blocks attend in; 0 for none.
        global_indices: Blocks, from 0, that have none.
        arguments: Of timm's model, such as ``embed_dim`` and ``patch_size``.

    Raises:
        ConfigError: There is no such family or network, or timm's has no windows.
    """
    known = {f.name: f for f in FAMILIES}
    if family not in known:
        raise ConfigError(f'trunk: no family {family!r}; known: {", ".join(known)}')
    options = dict(no_embed_class=True, global_pool='', **arguments)
    try:
        model = create_model(
            name, norm_layer=partial(nn.LayerNorm, eps=known[family].eps), **options
        )
        vit = TimmViT(model, known[family].positions, known[family].statistics, family=family)
    except CheckpointError as error:
        raise ConfigError(f'trunk {name}: {error}') from error
    vit.keep_periods()
    if window_size:
        models = timm_module('models')
        kinds = models.vision_transformer.Block, models.eva.EvaBlock
        if any(type(block) not in kinds for block in model.blocks):
            raise ConfigError(f'trunk {name}: its blocks have no windows: window_size=0')
        vit.windows = {i: window_size for i in range(vit.depth) if i not in global_indices}
    return vit


def load_named(vit: TimmViT, tensors: Mapping[str, Tensor]) -> None:
    """Load what training made of a network that timm has by its name.

    Raises:
        CheckpointError: They are not exactly its tensors.
    """
    vit.keep_periods()
    vit.arguments = {}  # it is timm's network, but for its weights
    try:
        vit.model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())
        raise CheckpointError(f'holds other tensors than {vit.family} ({reason})') from error


def create_timm(name: str, pretrained: bool) -> TimmViT:
    """A network by timm's name.

    Raises:
        CheckpointError: There is no such network, it cannot be downloaded, or is of another kind.
    """
    title = f'{"timm:" if pretrained else "random:timm/"}{name}'
    with errors_about(title):
        model = create_model(name, pretrained=pretrained)
        config = timm_module('data').resolve_model_data_config(model)
        scaled = Statistics(*(tuple(255 * v for v in config[key]) for key in ('mean', 'std')))
        return TimmViT(model, statistics=scaled, family=f'{TIMM}{name}')

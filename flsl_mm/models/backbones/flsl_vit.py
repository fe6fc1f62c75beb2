"""The Vision Transformer that FLSL pretrains."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.model import initialize
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...checkpoint.pretrained_vit import loads_a_file
from ...utils.errors import ConfigError
from ..layers.attention import Groups, attend
from ..layers.norm import apply_norm
from ..layers.positions import check_sides, gather_tokens, read_windows
from ..layers.precision import cast_layers, residual_stream
from ..layers.recomputation import linear_of
from ..layers.stochastic_depth import (
    Kept,
    add_branch,
    draw_branches,
    drop_rate,
    plan_branches,
)
from .frozen_vit import Block, FrozenViT

OFFSET = 0.1  # of DINO's rule for position tables, see interpolate_position_embedding


def sincos_position_embedding(grid: tuple[int, int], embed_dims: int) -> Tensor:
    """Position table of a token grid, as released FLSL networks carry it.

    A quarter of the channels each holds sin(column), cos(column), sin(row) and cos(row), at
    frequencies ``10000 ** (-i / (embed_dims / 4))``. (mmpretrain's function of the same
    purpose has rows first, so its tables do not fit released weights.)

    Args:
        grid: Rows and columns of the token grid.
        embed_dims: Channels D, divisible by 4.

    Returns:
        Tensor: float32 of shape (1, rows * columns, D), tokens in row-major order.

    Raises:
        ConfigError: ``embed_dims`` is not divisible by 4.
    """
    if embed_dims % 4:
        raise ConfigError(
            f'a 2-D sin-cos embedding needs embed_dims divisible by 4, got {embed_dims}'
        )
    rows, columns = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in grid), indexing='ij'
    )
    quarter = embed_dims // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]  # 2 x (N, D/4)
    table = torch.cat([part for a in angles for part in (a.sin(), a.cos())], dim=1)
    return table.float().unsqueeze(0)


def interpolate_position_embedding(
    table: Tensor, grid: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Resample a position table to another token grid during the forward pass.

    Bicubic with scale factor ``(n + 0.1) / N`` per axis. The 0.1 is DINO's guard against rounding
    the output size down; it also shifts the sample points a little, so released weights are only
    reproduced with it.

    Args:
        table: (1, N, D) with ``N = grid[0] * grid[1]``.
        grid: Rows and columns of ``table``.
        target: Rows and columns wanted.

    Returns:
        Tensor: (1, target[0] * target[1], D), in the dtype of ``table``.
    """
    if grid == target:
        return table
    maps = table.unflatten(1, grid).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    scale = tuple((n + OFFSET) / size for n, size in zip(target, grid))
    with torch.autocast(table.device.type, enabled=False):
        maps = F.interpolate(maps, scale_factor=scale, mode='bicubic', align_corners=False)
    return maps.flatten(2).transpose(1, 2)


@MODELS.register_module()
class FLSLVisionTransformer(FrozenViT, VisionTransformer):
    """mmpretrain's ViT without class token, with a fixed sin-cos position embedding.

    Paper, Appendix E.1 (Table 8): DeiT's networks without the class token. Parameter names are
    those of :class:`mmpretrain.models.VisionTransformer`, so weights go both ways.

    Note that mmpretrain's ``'small'`` is 768 wide and 8 deep; DeiT's ViT-S is ``'deit-small'``.

    Args:
        arch: A name of mmpretrain's arch zoo or a dict with ``embed_dims``, ``num_layers``,
            ``num_heads`` and ``feedforward_channels``.
        img_size: Side (or height and width) in pixels of the grid that the position table covers;
            inputs of other sizes get an interpolated table.
        patch_size: Side of a patch in pixels.
        drop_path_rate: Stochastic depth of the last block, in [0, 1); earlier blocks have
            linearly less.
        with_cp: Recompute each block in the backward pass: less memory, same results.
        recompute: Recompute only what LayerNorm and GELU give: a third less memory for a hundredth
            of the time, and more work for the host. None does so on a CPU, but not on a GPU, which
            has memory of its own and should not wait for the host.
        out_type: What :meth:`forward` returns: ``'featmap'`` (B, D, H, W), ``'raw'`` (B, N, D) or
            ``'avg_featmap'`` (B, D).
        frozen_stages: -1 trains everything, 0 freezes what comes before the blocks, n also the
            first n blocks, all of them also the final norm. What is frozen is in evaluation mode,
            without stochastic depth, and keeps nothing for a backward pass.
        position_window: ``(low, high)``: while a method trains this network, as student or teacher,
            each view of each image reads the position table in a random square window whose side is
            this share of the table's (:class:`StudentTeacher` draws them), so that tokens do not
            become codes of their place. None is the paper: the whole table, always.
        in_channels: Of the images. Weights for RGB are adapted to others, and the data preprocessor
            then needs a ``mean`` and a ``std`` for each.
        init_cfg: mmengine initialization; ``Pretrained`` kinds are loaded after the random one.
        kwargs: Other arguments of :class:`mmpretrain.models.VisionTransformer`.

    Raises:
        ConfigError: ``drop_path_rate``, ``frozen_stages`` or ``position_window`` is out of range,
            ``with_cls_token`` is set, or ``layer_cfgs`` asks for a feed-forward network other than
            two linear layers.
    """

    def __init__(
        self,
        arch: str | dict = 'deit-small',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        recompute: bool | None = None,
        out_type: str = 'featmap',
        frozen_stages: int = -1,
        position_window: tuple[float, float] | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
        in_channels: int = 3,
        **kwargs,
    ) -> None:
        if in_channels < 1:
            raise ConfigError(
                f'{type(self).__name__}: in_channels must be at least 1, got {in_channels}'
            )
        if kwargs.pop('with_cls_token', False):
            raise ConfigError(f'{type(self).__name__} has no class token: with_cls_token=False')
        if not 0 <= drop_path_rate < 1:
            raise ConfigError(
                f'{type(self).__name__}: drop_path_rate must be in [0, 1), got {drop_path_rate}'
            )
        super().__init__(
            arch=arch,
            img_size=img_size,
            patch_size=patch_size,
            drop_path_rate=drop_path_rate,
            out_type=out_type,
            frozen_stages=frozen_stages,
            with_cls_token=False,
            init_cfg=init_cfg,
            in_channels=in_channels,
            **kwargs,
        )
        if not all(len(getattr(layer.ffn, 'layers', ())) == 3 for layer in self.layers):
            raise ConfigError(
                'FLSLVisionTransformer has no other feed-forward network than two linear layers'
            )
        for layer in self.layers:  # mmpretrain's are numpy's, which a compiler does not take
            for path in (layer.attn.out_drop, layer.ffn.dropout_layer):
                path.drop_prob = float(getattr(path, 'drop_prob', 0.0))
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.with_cp = with_cp
        self.recompute = recompute
        self.position_window = check_sides(type(self).__name__, position_window)
        self.pos_embed = nn.Parameter(
            sincos_position_embedding(self.patch_resolution, self.embed_dims), requires_grad=False
        )
        self._freeze_stages()

    def _freeze_stages(self) -> None:
        """Stop gradients of the frozen stages and put them into evaluation mode.

        Raises:
            ConfigError: There are not so many.
        """
        if not -1 <= self.frozen_stages <= self.depth:
            raise ConfigError(
                f'{type(self).__name__}: frozen_stages={self.frozen_stages} is outside [-1, '
                f'depth={self.depth}]'
            )
        if self.frozen_stages >= 0:
            super()._freeze_stages()

    def init_weights(self) -> None:
        """Initialize as DeiT does, then apply ``init_cfg``.

        mmengine would initialize the children *after* a custom ``Pretrained`` kind and so
        overwrite what it loaded; here loading always comes last.
        """
        if self._is_init:
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.init_cfg:
            listed = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg
            initialize(self, sorted(listed, key=loads_a_file))  # files last, as in mmengine
        self._is_init = True

    def train(self, mode: bool = True) -> 'FLSLVisionTransformer':
        """Switch the mode, but for frozen stages; returns the module, unlike mmpretrain's."""
        super().train(mode)
        self._freeze_stages()
        return self

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.layers)

    @property
    def num_heads(self) -> int:
        """Attention heads."""
        return self.layers[0].attn.num_heads

    def blocks_for(self, images: Tensor) -> tuple[Tensor, Iterator[Block]]:
        """What enters the first block (B, N, D), and the blocks, for images (B, C, H, W)."""
        blocks = ((layer, partial(_queries_and_keys, layer)) for layer in self.layers)
        return self.embed(images), blocks

    def final(self, tokens: Tensor) -> Tensor:
        """The final norm."""
        return self.ln1(tokens) if self.final_norm else tokens

    def embed(self, images: Tensor, windows: Tensor | None = None) -> Tensor:
        """Patch and position embedding.

        Args:
            images: (B, C, H, W); padded with zeros, right and below, to whole patches.
            windows: Where each image reads the position table (B, 4), as :func:`.draw_windows`
                gives them; None for the whole table, resampled.

        Returns:
            Tensor: (B, N, D).
        """
        tokens, grid = self.patch_embed(images)
        grids = tuple(self.patch_resolution), tuple(map(int, grid))
        if windows is None:
            positions = interpolate_position_embedding(self.pos_embed, *grids)
        else:
            positions = read_windows(self.pos_embed, *grids, windows)
        return self.pre_norm(self.drop_after_pos(tokens + positions))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode images of one size.

        Args:
            x: Normalized images (B, C, H, W).

        Returns:
            tuple[Tensor, ...]: One output for each of ``out_indices``, formatted as ``out_type``.
        """
        grid = self.grid_of(x)
        x = self.embed(x)
        outs = []
        for i, layer in enumerate(self.layers):
            x = self.run_layer(layer, x)
            if i == len(self.layers) - 1 and self.final_norm:
                x = self.ln1(x)
            if i in self.out_indices:
                outs.append(self._format_output(x[:, self.num_prefix_tokens :], grid))
        return tuple(outs)

    def run_layer(self, layer: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        """One transformer block, recomputed in the backward pass if ``with_cp``."""
        if self.with_cp:
            return checkpoint(layer, tokens, use_reentrant=False)
        return layer(tokens)

    def forward_tokens(
        self,
        images: Sequence[Tensor],
        with_prefix: bool = False,
        windows: Sequence[Tensor | None] | None = None,
        kept: Tensor | None = None,
        places: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Encode views of several sizes in one pass.

        The tokens of all views are packed into one (T, D) matrix for every per-token layer; only
        attention goes size by size. Same results as :meth:`forward` on each view, up to rounding:
        under bfloat16 autocast the residual stream is bfloat16 here and float32 there.

        Args:
            images: Views, each (B, C, H, W); B, H and W may differ between views.
            with_prefix: Whether the prefix tokens, where the network has any, come first.
            windows: For each view where its images read the position table, see :meth:`embed`.
            kept: Which images each branch keeps, see :meth:`draw_depth`; drawn where it is None.
            places: For each view the patches of each image that are encoded, int64 (B, K); no
                other is in memory after the patch embedding. None for all.

        Returns:
            list[Tensor]: Tokens (B, N, D), or (B, P + N, D), of each view after the final
            LayerNorm; with ``places`` K instead of N.
        """
        windows = [None] * len(images) if windows is None else windows
        embedded = [self.embed(*view) for view in zip(images, windows)]
        if places is not None:
            embedded = [self._keep(*view) for view in zip(embedded, places)]
        groups = _merge_groups([tokens.shape[:2] for tokens in embedded])
        x = torch.cat([tokens.flatten(0, 1) for tokens in embedded])  # (T, D)
        stream = residual_stream(x)
        rates = self._drop_rates()
        if kept is None:
            kept = draw_branches(rates, [batch for batch, _ in groups])
        plans = plan_branches(kept, rates, groups, x.device)
        recompute = x.is_cpu if self.recompute is None else self.recompute
        # Where whole blocks are recomputed, their parts must not keep what that needs.
        recompute = recompute and not self.with_cp
        for layer, *branches in zip(self.layers, plans[::2], plans[1::2]):
            block = partial(_packed_block, layer, groups, branches, recompute)
            stream = self.run_layer(block, stream)
        x = stream.to(x.dtype)
        if self.final_norm:
            x = self.ln1(x)
        pieces = x.split([tokens.shape[0] * tokens.shape[1] for tokens in embedded])
        views = [piece.view_as(tokens) for piece, tokens in zip(pieces, embedded)]
        skip = 0 if with_prefix else self.num_prefix_tokens
        return [tokens[:, skip:] for tokens in views] if skip else views

    def draw_depth(
        self, images: Sequence[Tensor], places: Sequence[Tensor] | None = None
    ) -> Tensor | None:
        """Which images stochastic depth keeps in each of the two branches of each block.

        Args:
            images: The views, as for :meth:`forward_tokens`.
            places: Likewise.

        Returns:
            Tensor | None: True for kept, (2 * depth, images of all views) on the CPU; None where
            nothing is dropped.
        """
        if places is None:
            lengths = [rows * columns for rows, columns in map(self.grid_of, images)]
        else:
            lengths = [view.shape[1] for view in places]
        groups = _merge_groups([(len(view), n) for view, n in zip(images, lengths)])
        return draw_branches(self._drop_rates(), [batch for batch, _ in groups])

    def _drop_rates(self) -> list[float]:
        """Of the two branches of each block."""
        return [
            drop_rate(path)
            for layer in self.layers
            for path in (layer.attn.out_drop, layer.ffn.dropout_layer)
        ]

    def _keep(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Prefix tokens, and the patches at ``places`` (B, K), of tokens (B, P + N, D)."""
        prefix = self.num_prefix_tokens
        kept = gather_tokens(tokens, places + prefix)
        return torch.cat([tokens[:, :prefix], kept], dim=1) if prefix else kept


def _queries_and_keys(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of a block's attention, each (B, heads, N, d)."""
    qkv = layer.attn.qkv(layer.ln1(x)).unflatten(-1, (3, layer.attn.num_heads, -1))
    return tuple(qkv.permute(2, 0, 3, 1, 4)[:2])


def _merge_groups(views: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(number of images, tokens per image) of each run of views with equally many tokens."""
    groups: list[tuple[int, int]] = []
    for batch, length in views:
        if groups and groups[-1][1] == length:
            groups[-1] = (groups[-1][0] + batch, length)
        else:
            groups.append((batch, length))
    return groups


def _packed_block(
    layer: nn.Module, groups: Groups, kept: Sequence[Kept | None], recompute: bool, x: Tensor
) -> Tensor:
    """One transformer block on packed tokens (T, D); ``kept`` of its two branches.

    With ``recompute`` what LayerNorm and GELU give is computed again in the backward pass, which
    saves a third of what is kept for it, for about a hundredth of the time.
    """
    apply = partial(linear_of, recompute=recompute)
    attn, ((widen, activate, drop), narrow, drop_out) = layer.attn, layer.ffn.layers
    layers = layer.ln1, attn.qkv, attn.proj, layer.ln2, widen, narrow
    ln1, project_in, project_out, ln2, widen, narrow = cast_layers(layers, x)

    def attention(x: Tensor, groups: Groups) -> Tensor:
        qkv = apply(partial(apply_norm, ln1), x, project_in)
        out = attend(qkv, groups, attn.num_heads, attn.attn_drop if attn.training else 0.0)
        return attn.gamma1(attn.proj_drop(project_out(out)))

    def feed_forward(x: Tensor, groups: Groups) -> Tensor:
        x = apply(partial(apply_norm, ln2), x, widen)
        if drop.p and drop.training:
            x = narrow(drop(activate(x)))
        else:
            x = apply(activate, x, narrow)
        return layer.ffn.gamma2(drop_out(x))

    x = add_branch(x, attention, groups, kept[0])
    return add_branch(x, feed_forward, groups, kept[1])

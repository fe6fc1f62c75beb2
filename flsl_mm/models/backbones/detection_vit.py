"""Detection ViTs: what the downstream backbones share."""

from collections.abc import Iterator, Mapping, Sequence

from mmengine.model import BaseModule
from torch import Tensor

from ...utils.errors import ConfigError
from .flsl_vit import FLSLVisionTransformer
from .frozen_vit import Block
from .timm_vit import build_trunk


class DetectionViT(FLSLVisionTransformer):
    """A ViT as a backbone of detectors and segmentors; base class of the pyramids.

    Without ``trunk`` it is FLSL's network; unlike in pretraining, the position embedding is trained
    and there is no final LayerNorm. With it, it is another project's network in timm, with all of
    its parts and its prefix tokens, and maps are of tokens after its final norm.

    Args:
        embed_dims: Width D.
        depth: Number of blocks.
        num_heads: Attention heads, a divisor of ``embed_dims``.
        frozen_stages: -1 trains everything, 0 freezes what comes before the blocks, n also the
            first n blocks; all of them with them a trunk's final norm.
        with_cp: Recompute each block in the backward pass: less memory, same results.
        trunk: ``dict(name=..., family=...)``: timm's name of a network of that kind, and the
            family of its weights, see :func:`~.timm_vit.build_trunk`.
        img_size: Of :class:`FLSLVisionTransformer`.
        patch_size: Side of a patch in pixels; weights of another are resized to it.
        drop_path_rate: Of :class:`FLSLVisionTransformer`.
        init_cfg: Of :class:`FLSLVisionTransformer`.
        in_channels: Of the images; weights for RGB are adapted to others. A trunk has 3.
        kwargs: Others of :class:`FLSLVisionTransformer`.

    Raises:
        ConfigError: ``num_heads`` does not divide ``embed_dims``, ``frozen_stages`` is not in
            [-1, depth], or timm has no such trunk, or not of so many channels.
    """

    def __init__(
        self,
        embed_dims: int,
        depth: int,
        num_heads: int,
        frozen_stages: int,
        with_cp: bool,
        trunk: Mapping | None,
        img_size: int | tuple[int, int],
        patch_size: int,
        drop_path_rate: float,
        init_cfg: dict | Sequence[dict] | None,
        in_channels: int = 3,
        **kwargs,
    ) -> None:
        if embed_dims % num_heads:
            raise ConfigError(f'embed_dims={embed_dims} is not divisible by num_heads={num_heads}')
        if not -1 <= frozen_stages <= depth:
            raise ConfigError(f'frozen_stages={frozen_stages} is outside [-1, depth={depth}]')
        sizes = dict(img_size=img_size, patch_size=patch_size, drop_path_rate=drop_path_rate)
        if trunk is None:
            arch = dict(
                embed_dims=embed_dims,
                num_layers=depth,
                num_heads=num_heads,
                feedforward_channels=4 * embed_dims,
            )
            stages = dict(frozen_stages=frozen_stages, with_cp=with_cp, init_cfg=init_cfg)
            kwargs['in_channels'] = in_channels
            super().__init__(arch=arch, final_norm=False, **sizes, **stages, **kwargs)
            self.pos_embed.requires_grad = True
            return
        if in_channels != 3:
            raise ConfigError(f'a trunk takes images of 3 channels, not in_channels={in_channels}')
        BaseModule.__init__(self, init_cfg)  # FLSL's network is not made
        if not {'name', 'family'} <= set(trunk):
            raise ConfigError(f'trunk=dict(name=..., family=...) needs both, got {dict(trunk)}')
        arch = dict(embed_dim=embed_dims, depth=depth, num_heads=num_heads)
        self.trunk = build_trunk(**{**trunk, **arch, **sizes})
        self.embed_dims, self.patch_size = embed_dims, patch_size
        self.frozen_stages, self.with_cp = frozen_stages, with_cp

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.trunk.depth if hasattr(self, 'trunk') else super().depth

    @property
    def num_heads(self) -> int:
        """Attention heads."""
        return self.trunk.num_heads if hasattr(self, 'trunk') else super().num_heads

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before those of the patches."""
        return self.trunk.num_prefix_tokens if hasattr(self, 'trunk') else 0

    @property
    def family(self) -> str | None:
        """Of a trunk."""
        return self.trunk.family if hasattr(self, 'trunk') else None

    def blocks_for(self, images: Tensor) -> tuple[Tensor, Iterator[Block]]:
        """What enters the first block (B, P + N, D), and the blocks, for images (B, 3, H, W)."""
        return (self.trunk if hasattr(self, 'trunk') else super()).blocks_for(images)

    def final(self, tokens: Tensor) -> Tensor:
        """The final norm, where there is one."""
        return (self.trunk if hasattr(self, 'trunk') else super()).final(tokens)

    def forward_tokens(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Patch tokens (B, N, D) of each view (B, 3, H, W)."""
        return (self.trunk if hasattr(self, 'trunk') else super()).forward_tokens(images)

    def maps_after(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Patch tokens as maps (B, D, rows, columns) after each of ``blocks``, from 0."""
        x, steps = self.blocks_for(images)
        grid, maps = self.grid_of(images), {}
        for i, (step, _) in enumerate(steps):
            x = self.run_layer(step, x)
            if i in blocks:
                patches = self.final(x)[:, self.num_prefix_tokens :]
                maps[i] = patches.reshape(-1, *grid, self.embed_dims).permute(0, 3, 1, 2)
        return [maps[i] for i in blocks]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter among ``depth + 2``: 0 before the blocks, the last after them."""
        if not hasattr(self, 'trunk'):
            return super().get_layer_depth(param_name, prefix)
        return self.trunk.get_layer_depth(param_name, f'{prefix}trunk.')

    def _freeze_stages(self) -> None:
        """Stop gradients of the frozen stages and put them into evaluation mode.

        Called at the end of the subclasses' constructors and by :meth:`train`.
        """
        if not hasattr(self, 'trunk'):
            super()._freeze_stages()
        elif self.frozen_stages >= 0:
            self.trunk.freeze(self.frozen_stages)


def check_blocks(name: str, indices: Sequence[int], depth: int) -> None:
    """Check the block indices given as argument ``name``.

    Raises:
        ConfigError: One is outside [0, depth).
    """
    if any(not 0 <= i < depth for i in indices):
        raise ConfigError(f'{name}={tuple(indices)} must lie in 0..{depth - 1} (depth={depth})')


def crop_to_strides(
    maps: Sequence[Tensor], strides: Sequence[int], size: tuple[int, int]
) -> tuple[Tensor, ...]:
    """Cut what the padding added: a map of stride s covers ``ceil(H / s) x ceil(W / s)`` cells.

    Args:
        maps: Feature maps (B, C, h, w) of the padded image.
        strides: The stride of each map in pixels.
        size: Height and width of the image before padding.

    Returns:
        tuple[Tensor, ...]: Feature maps (B, C, ceil(H / s), ceil(W / s)).
    """
    return tuple(m[..., : -(-size[0] // s), : -(-size[1] // s)] for m, s in zip(maps, strides))

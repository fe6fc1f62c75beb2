"""ViT with windowed attention and a simple feature pyramid."""

from collections.abc import Iterator, Mapping, Sequence

from mmengine.registry import MODELS
from mmpretrain.models.utils import LayerNorm2d, resize_pos_embed, to_2tuple
from torch import Tensor, nn

from ...utils.errors import ConfigError
from ...utils.token_grid import grid_of_size
from .detection_vit import DetectionViT, check_blocks, crop_to_strides
from .frozen_vit import Block
from .relative_attention import RelativeAttention


class ConvNorm(nn.Conv2d):
    """Convolution without bias whose ``norm`` follows; named as in detectron2's checkpoints.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel_size: Odd side of the kernel; the resolution is kept.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.norm = LayerNorm2d(out_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        return self.norm(super().forward(x))


@MODELS.register_module()
class ViTDet(DetectionViT):
    """ViTDet (Li et al., ECCV 2022): a plain ViT with five output maps of strides 4 to 64.

    Windowed blocks except ``global_indices``, decomposed relative positions in all of them, and a
    simple feature pyramid with channel LayerNorm from the last block; paper, Section 5 (COCO,
    ViT-B/16). Pyramid parameters are named as in detectron2's checkpoints.

    Images of any size: (H, W) is padded to whole patches inside, and the map of stride s is
    cropped to (ceil(H / s), ceil(W / s)).

    Args:
        img_size: Side (or height and width) in pixels of the images that the relative positions
            of global blocks cover: that of fine-tuning. Linearly resized for other inputs.
        patch_size: 16, the only size that gives strides 4 to 64.
        embed_dims: Width D, divisible by 4.
        depth: Number of blocks.
        num_heads: Attention heads, a divisor of ``embed_dims``.
        window_size: Side of an attention window in tokens; None is 14, and with a trunk 0: none.
        global_indices: Blocks, from 0, that attend globally.
        out_channels: Channels of the five maps.
        drop_path_rate: Stochastic depth of the last block; earlier blocks have linearly less.
        pretrain_img_size: Side of the images that the position embedding covers: that of
            pretraining. Other inputs get an interpolated one.
        frozen_stages: -1 trains everything, 0 freezes patch and position embedding, n also the
            first n blocks; frozen blocks have no stochastic depth.
        with_cp: Recompute each block in the backward pass: less memory, same results.
        trunk: Another project's network in place of FLSL's, ``dict(name=..., family=...)``: see
            :class:`DetectionViT`. It has no relative positions, so ``img_size`` is not used; it
            attends globally, as it was trained, unless ``window_size`` is given: then all prefix
            tokens are in every window.
        in_channels: Of the images; weights for RGB are adapted to others.
        init_cfg: mmengine initialization, e.g. ``dict(type='PretrainedViT', checkpoint=...)``.

    Raises:
        ConfigError: Unsupported ``patch_size``, ``global_indices`` or ``frozen_stages`` beyond the
            depth, ``num_heads`` that does not divide ``embed_dims``, no ``window_size``.

    Examples:
        >>> maps = ViTDet(img_size=224)(torch.rand(1, 3, 224, 224))
        >>> [tuple(m.shape[1:]) for m in maps]
        [(256, 56, 56), (256, 28, 28), (256, 14, 14), (256, 7, 7), (256, 4, 4)]
    """

    strides = (4, 8, 16, 32, 64)

    def __init__(
        self,
        img_size: int | tuple[int, int] = 1024,
        patch_size: int = 16,
        embed_dims: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        window_size: int | None = None,
        global_indices: Sequence[int] = (2, 5, 8, 11),
        out_channels: int = 256,
        drop_path_rate: float = 0.1,
        pretrain_img_size: int = 224,
        frozen_stages: int = -1,
        with_cp: bool = False,
        trunk: Mapping | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
        in_channels: int = 3,
    ) -> None:
        if patch_size != 16:
            raise ConfigError(f'ViTDet supports patch_size 16, got {patch_size}')
        if window_size is None:
            window_size = 14 if trunk is None else 0
        if window_size < 0 or (trunk is None and not window_size):
            raise ConfigError(f'window_size must be positive, got {window_size}')
        check_blocks('global_indices', global_indices, depth)
        super().__init__(
            embed_dims,
            depth,
            num_heads,
            frozen_stages,
            with_cp,
            trunk and dict(trunk, window_size=window_size, global_indices=global_indices),
            img_size=pretrain_img_size,
            patch_size=patch_size,
            drop_path_rate=drop_path_rate,
            init_cfg=init_cfg,
            in_channels=in_channels,
        )
        if trunk is None:
            self._cut_into_windows(to_2tuple(img_size), window_size, global_indices)
        self._build_pyramid(embed_dims, out_channels)
        self._freeze_stages()

    def _cut_into_windows(
        self, size: tuple[int, int], window_size: int, global_indices: Sequence[int]
    ) -> None:
        """Give each block of FLSL's network its attention with relative positions."""
        grid = grid_of_size(*size, self.patch_size)
        for i, layer in enumerate(self.layers):
            window = 0 if i in global_indices else window_size
            layer.attn = RelativeAttention(
                self.embed_dims,
                self.num_heads,
                table_size=(window, window) if window else grid,
                window_size=window,
                drop_path_rate=layer.attn.out_drop.drop_prob,
            )

    def _build_pyramid(self, dims: int, out: int) -> None:
        """Levels of strides 4, 8, 16 and 32, each from the last block's map."""
        self.simfp_2 = nn.Sequential(
            nn.ConvTranspose2d(dims, dims // 2, kernel_size=2, stride=2),
            LayerNorm2d(dims // 2, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(dims // 2, dims // 4, kernel_size=2, stride=2),
            ConvNorm(dims // 4, out, 1),
            ConvNorm(out, out, 3),
        )
        self.simfp_3 = nn.Sequential(
            nn.ConvTranspose2d(dims, dims // 2, kernel_size=2, stride=2),
            ConvNorm(dims // 2, out, 1),
            ConvNorm(out, out, 3),
        )
        self.simfp_4 = nn.Sequential(ConvNorm(dims, out, 1), ConvNorm(out, out, 3))
        self.simfp_5 = nn.Sequential(
            # An incomplete window at the border counts, as strides round up.
            nn.MaxPool2d(2, ceil_mode=True),
            ConvNorm(dims, out, 1),
            ConvNorm(out, out, 3),
        )

    def embed(self, images: Tensor) -> Tensor:
        """Patch and position embedding: (B, 3, H, W) to (B, N, D).

        ViTDet resizes the position table to the exact grid, without the shift by DINO's
        rounding guard that the parent class has.
        """
        tokens, grid = self.patch_embed(images)
        return tokens + resize_pos_embed(
            self.pos_embed, self.patch_resolution, tuple(map(int, grid)), num_extra_tokens=0
        )

    def blocks_for(self, images: Tensor) -> tuple[Tensor, Iterator[Block]]:
        """As in the parent class; FLSL's blocks take a grid (B, rows, columns, D) here."""
        x, blocks = super().blocks_for(images)
        if not hasattr(self, 'trunk'):
            x = x.unflatten(1, self.grid_of(images))
        return x, blocks

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            x: Normalized images (B, 3, H, W).

        Returns:
            tuple[Tensor, ...]: Maps (B, out_channels, ceil(H / s), ceil(W / s)) for s in 4, 8, 16,
            32, 64.
        """
        [last] = self.maps_after(x, [self.depth - 1])
        maps = [level(last) for level in (self.simfp_2, self.simfp_3, self.simfp_4, self.simfp_5)]
        maps.append(maps[-1][..., ::2, ::2])  # max-pooling with kernel 1 and stride 2
        return crop_to_strides(maps, self.strides, x.shape[-2:])

    def forward_tokens(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Not available: blocks attend to a grid here, not to packed tokens.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError('ViTDet encodes one grid; use FLSLVisionTransformer for views')

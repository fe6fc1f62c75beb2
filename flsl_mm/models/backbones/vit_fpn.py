"""ViT with a feature pyramid from four of its blocks."""

from collections.abc import Mapping, Sequence

from mmcv.cnn import build_norm_layer
from mmengine.dist import get_backend
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...utils.errors import ConfigError
from .detection_vit import DetectionViT, check_blocks, crop_to_strides


@MODELS.register_module()
class ViTFPN(DetectionViT):
    """The FLSL ViT with four output maps of strides 4, 8, 16 and 32, for an FPN neck.

    Paper, Section 5 (Mask R-CNN and Faster R-CNN with ViT-S/16, S/8 and B/16). Each tapped block
    is resampled by itself, at constant width D:

    - patch 16: two deconvolutions with norm and GELU between; one deconvolution; identity;
      max-pool 2.
    - patch 8: one deconvolution; identity; max-pool 2; max-pool 4.

    Images of any size: (H, W) is padded to whole patches inside, and the map of stride s is
    cropped to (ceil(H / s), ceil(W / s)).

    Args:
        img_size: Side (or height and width) in pixels of the images that the position embedding
            covers: that of pretraining. Other inputs get an interpolated one.
        patch_size: 16 or 8.
        embed_dims: Width D.
        depth: Number of blocks.
        num_heads: Attention heads, a divisor of ``embed_dims``.
        out_indices: The four blocks, from 0, that feed strides 4, 8, 16 and 32.
        drop_path_rate: Stochastic depth of the last block; earlier blocks have linearly less.
        norm_cfg: The norm between the two deconvolutions of patch 16. ``SyncBN`` is plain ``BN``
            (same weights) unless the process group is NCCL's when the model is built: it exists
            on GPUs only, so this default serves one GPU, many, and CPU.
        frozen_stages: -1 trains everything, 0 freezes patch and position embedding, n also the
            first n blocks; frozen blocks have no stochastic depth.
        with_cp: Recompute each block in the backward pass: less memory, same results.
        trunk: Another project's network in place of FLSL's, ``dict(name=..., family=...)``: see
            :class:`DetectionViT`.
        in_channels: Of the images; weights for RGB are adapted to others.
        init_cfg: mmengine initialization, e.g. ``dict(type='PretrainedViT', checkpoint=...)``.

    Raises:
        ConfigError: Unsupported ``patch_size``, ``out_indices`` that are not four blocks,
            ``num_heads`` that does not divide ``embed_dims``, ``frozen_stages`` beyond the depth, a
            trunk that timm has not.

    Examples:
        >>> maps = ViTFPN(patch_size=16)(torch.rand(1, 3, 224, 224))
        >>> [tuple(m.shape) for m in maps]
        [(1, 384, 56, 56), (1, 384, 28, 28), (1, 384, 14, 14), (1, 384, 7, 7)]
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dims: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        out_indices: Sequence[int] = (3, 5, 7, 11),
        drop_path_rate: float = 0.0,
        norm_cfg: dict = dict(type='SyncBN'),  # noqa: B006 (never modified)
        frozen_stages: int = -1,
        with_cp: bool = False,
        trunk: Mapping | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
        in_channels: int = 3,
    ) -> None:
        if patch_size not in (8, 16):
            advice = ' (which FLSLRunner reads off the file that pretrained=FILE names)'
            advice = advice if patch_size == 'auto' else ''
            raise ConfigError(f'ViTFPN supports patch_size 8 and 16, got {patch_size}{advice}')
        if len(out_indices) != 4:
            raise ConfigError(f'ViTFPN needs four out_indices, got {tuple(out_indices)}')
        check_blocks('out_indices', out_indices, depth)
        super().__init__(
            embed_dims,
            depth,
            num_heads,
            frozen_stages,
            with_cp,
            trunk,
            img_size=img_size,
            patch_size=patch_size,
            drop_path_rate=drop_path_rate,
            init_cfg=init_cfg,
            in_channels=in_channels,
        )
        self.out_indices = tuple(out_indices)
        if patch_size == 16:
            self.fpn1 = nn.Sequential(
                _double(embed_dims),
                _build_norm(norm_cfg, embed_dims),
                nn.GELU(),
                _double(embed_dims),
            )
            self.fpn2 = nn.Sequential(_double(embed_dims))
            self.fpn3 = nn.Identity()
            self.fpn4 = _reduce(2)
        else:
            self.fpn1 = nn.Sequential(_double(embed_dims))
            self.fpn2 = nn.Identity()
            self.fpn3 = _reduce(2)
            self.fpn4 = _reduce(4)
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            x: Normalized images (B, 3, H, W).

        Returns:
            tuple[Tensor, ...]: Maps (B, D, ceil(H / s), ceil(W / s)) for s in 4, 8, 16, 32.
        """
        levels = (self.fpn1, self.fpn2, self.fpn3, self.fpn4)
        maps = [f(tapped) for f, tapped in zip(levels, self.maps_after(x, self.out_indices))]
        return crop_to_strides(maps, self.strides, x.shape[-2:])


def _double(channels: int) -> nn.Module:
    """Deconvolution to twice the resolution."""
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)


def _reduce(factor: int) -> nn.Module:
    """Max-pooling; an incomplete window at the border counts, as strides round up."""
    return nn.MaxPool2d(factor, ceil_mode=True)


def _build_norm(norm_cfg: dict, channels: int) -> nn.Module:
    """The norm, ``BN`` in place of ``SyncBN`` where the latter cannot run."""
    if norm_cfg['type'] == 'SyncBN' and 'nccl' not in (get_backend() or ''):
        norm_cfg = {**norm_cfg, 'type': 'BN'}
    return build_norm_layer(norm_cfg, channels)[1]

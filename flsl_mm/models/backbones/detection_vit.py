"""Detection ViTs: what the downstream backbones share."""

from collections.abc import Sequence

from torch import Tensor

from ...utils.errors import ConfigError
from .flsl_vit import FLSLVisionTransformer


class DetectionViT(FLSLVisionTransformer):
    """The FLSL trunk as a backbone of detectors and segmentors; base class of both pyramids.

    Unlike in pretraining, the position embedding is trained and there is no final LayerNorm.

    Args:
        embed_dims: Width D.
        depth: Number of blocks.
        num_heads: Attention heads, a divisor of ``embed_dims``.
        frozen_stages: -1 trains everything, 0 freezes patch and position embedding, n also the
            first n blocks.
        with_cp: Recompute each block in the backward pass: less memory, same results.
        kwargs: ``img_size``, ``patch_size``, ``drop_path_rate`` and ``init_cfg`` of
            :class:`FLSLVisionTransformer`.

    Raises:
        ConfigError: ``num_heads`` does not divide ``embed_dims``, or ``frozen_stages`` is not in
            [-1, depth].
    """

    def __init__(
        self,
        embed_dims: int,
        depth: int,
        num_heads: int,
        frozen_stages: int,
        with_cp: bool,
        **kwargs,
    ) -> None:
        if embed_dims % num_heads:
            raise ConfigError(f'embed_dims={embed_dims} is not divisible by num_heads={num_heads}')
        if not -1 <= frozen_stages <= depth:
            raise ConfigError(f'frozen_stages={frozen_stages} is outside [-1, depth={depth}]')
        arch = dict(
            embed_dims=embed_dims,
            num_layers=depth,
            num_heads=num_heads,
            feedforward_channels=4 * embed_dims,
        )
        super().__init__(
            arch=arch, frozen_stages=frozen_stages, with_cp=with_cp, final_norm=False, **kwargs
        )
        self.pos_embed.requires_grad = True

    def _freeze_stages(self) -> None:
        """Stop gradients of the frozen stages and put them into eval mode.

        Called at the end of the subclasses' constructors and by :meth:`train`.
        """
        if self.frozen_stages >= 0:
            super()._freeze_stages()

    def train(self, mode: bool = True) -> 'DetectionViT':
        """Switch between training and evaluation; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        return self


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

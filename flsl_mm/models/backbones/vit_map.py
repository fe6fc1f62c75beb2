"""A ViT's last tokens as one map."""

from collections.abc import Mapping, Sequence

from mmengine.registry import MODELS
from torch import Tensor

from .detection_vit import DetectionViT


@MODELS.register_module()
class ViTMap(DetectionViT):
    """Another project's ViT as a backbone with one map, for heads on frozen tokens.

    The map of an image (H, W) is that of its tokens after the final norm; (H, W) is padded to
    whole patches inside. (FLSL's own network is a backbone already: ``FLSLVisionTransformer``.)

    Args:
        trunk: ``dict(name=..., family=...)``, see :func:`~.timm_vit.build_trunk`.
        img_size: Side in pixels of the grid that the position table covers.
        patch_size: Side of a patch in pixels.
        embed_dims: Width D.
        depth: Number of blocks.
        num_heads: Attention heads.
        frozen_stages: See :class:`DetectionViT`; None freezes everything.
        init_cfg: mmengine initialization, e.g. ``dict(type='PretrainedViT', checkpoint=...)``.
    """

    def __init__(
        self,
        trunk: Mapping,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dims: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        frozen_stages: int | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(
            embed_dims,
            depth,
            num_heads,
            depth if frozen_stages is None else frozen_stages,
            with_cp=False,
            trunk=trunk,
            img_size=img_size,
            patch_size=patch_size,
            drop_path_rate=0.0,
            init_cfg=init_cfg,
        )
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Normalized images (B, 3, H, W) to one map (B, D, rows, columns)."""
        return tuple(self.maps_after(x, [self.depth - 1]))

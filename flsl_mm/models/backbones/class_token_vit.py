"""The network of FLSL with a class token, for baselines whose papers have one."""

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .flsl_vit import FLSLVisionTransformer


@MODELS.register_module()
class ClassTokenViT(FLSLVisionTransformer):
    """:class:`FLSLVisionTransformer` with a learned class token before the patches.

    As published DINO (Caron et al., 2021) has it. The class token takes part in every block; it
    has no position of its own, so ``pos_embed`` stays (1, N, D). Patch tokens are what
    :meth:`forward` and :meth:`forward_tokens` give.

    Args:
        args: See :class:`FLSLVisionTransformer`.
        kwargs: See :class:`FLSLVisionTransformer`.
    """

    num_prefix_tokens = 1
    has_class_token = True

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.cls_token = nn.Parameter(torch.empty(1, 1, self.embed_dims))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self._freeze_stages()  # of this token too

    def embed(self, images: Tensor, windows: Tensor | None = None) -> Tensor:
        """Class token, then the embedded patches: (B, 3, H, W) to (B, 1 + N, D)."""
        patches = super().embed(images, windows)
        token = self.cls_token.expand(patches.shape[0], -1, -1)
        return torch.cat([token.to(patches), patches], dim=1)

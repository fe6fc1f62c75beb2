"""ViTs: the one that is pretrained, those of detectors, those of others."""

from .flsl_vit import FLSLVisionTransformer
from .frozen_vit import FrozenViT
from .vit_fpn import ViTFPN
from .vitdet import ViTDet

__all__ = ['FLSLVisionTransformer', 'FrozenViT', 'ViTDet', 'ViTFPN']

"""ViTs: the one that is pretrained, those of detectors, those of others."""

from .class_token_vit import ClassTokenViT
from .flsl_vit import FLSLVisionTransformer
from .frozen_vit import FrozenViT
from .vit_fpn import ViTFPN
from .vitdet import ViTDet

__all__ = ['ClassTokenViT', 'FLSLVisionTransformer', 'FrozenViT', 'ViTDet', 'ViTFPN']

"""ViTs: the one that is pretrained, those of detectors, those of others."""

from .class_token_vit import ClassTokenViT
from .flsl_vit import FLSLVisionTransformer
from .frozen_vit import FrozenViT
from .vit_fpn import ViTFPN
from .vit_map import ViTMap
from .vitdet import ViTDet
from .windowed_vit import WindowedMAEViT, WindowedMoCoV3ViT

__all__ = [
    'ClassTokenViT',
    'FLSLVisionTransformer',
    'FrozenViT',
    'ViTDet',
    'ViTFPN',
    'ViTMap',
    'WindowedMAEViT',
    'WindowedMoCoV3ViT',
]

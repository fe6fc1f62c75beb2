"""Models; importing this registers them."""

from .backbones import (
    ClassTokenViT,
    FLSLVisionTransformer,
    FrozenViT,
    ViTDet,
    ViTFPN,
    ViTMap,
)
from .build_vit import build_vit
from .data_preprocessors import MultiViewPreprocessor
from .heads import DINOHead, FLSLHead
from .mean_shift import mean_shift
from .necks import MeanShiftNeck
from .pretrained_network import PretrainedNetwork
from .selfsup import DINO, FLSL

__all__ = [
    'ClassTokenViT',
    'DINO',
    'DINOHead',
    'FLSL',
    'FLSLHead',
    'FLSLVisionTransformer',
    'FrozenViT',
    'MeanShiftNeck',
    'MultiViewPreprocessor',
    'PretrainedNetwork',
    'ViTDet',
    'ViTFPN',
    'ViTMap',
    'build_vit',
    'mean_shift',
]

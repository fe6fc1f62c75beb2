"""Models; importing this registers them."""

from .backbones import FLSLVisionTransformer, ViTDet, ViTFPN
from .build_vit import build_vit
from .data_preprocessors import MultiViewPreprocessor
from .heads import FLSLHead
from .mean_shift import mean_shift
from .necks import MeanShiftNeck
from .selfsup import FLSL

__all__ = [
    'FLSL',
    'FLSLHead',
    'FLSLVisionTransformer',
    'MeanShiftNeck',
    'MultiViewPreprocessor',
    'ViTDet',
    'ViTFPN',
    'build_vit',
    'mean_shift',
]

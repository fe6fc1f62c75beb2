from .flsl_vit import FLSLVisionTransformer
from .vit_fpn import ViTFPN
from .vitdet import ViTDet

__all__ = ['FLSLVisionTransformer', 'ViTDet', 'ViTFPN']

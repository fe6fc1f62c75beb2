"""Projection heads with their losses."""

from .dino_head import DINOHead
from .flsl_head import FLSLHead

__all__ = ['DINOHead', 'FLSLHead']

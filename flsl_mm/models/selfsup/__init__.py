"""Pretraining methods."""

from .dino import DINO
from .flsl import FLSL

__all__ = ['DINO', 'FLSL']

from .flsl import FLSL

__all__ = ['FLSL']

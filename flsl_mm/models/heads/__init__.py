from .flsl_head import FLSLHead

__all__ = ['FLSLHead']

"""Data preprocessors: what runs between the data loader and the model."""

from .multi_view_preprocessor import MultiViewPreprocessor

__all__ = ['MultiViewPreprocessor']

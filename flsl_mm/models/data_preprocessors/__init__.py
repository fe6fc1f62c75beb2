"""Data preprocessors: what runs between the data loader and the model."""

from .many_channel_preprocessor import ManyChannelPreprocessor
from .multi_view_preprocessor import MultiViewPreprocessor

__all__ = ['ManyChannelPreprocessor', 'MultiViewPreprocessor']

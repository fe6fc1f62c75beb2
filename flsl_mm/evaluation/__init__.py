"""Evaluation: pure functions on arrays, and metrics that wrap them for the registries."""

from ..utils.lazy import lazy_names
from . import functional

__getattr__, __all__ = lazy_names(
    __name__,
    {'.functional': functional.__all__, '.metrics': ['StandardCocoMetric', 'UAVDTMetric']},
)

"""Evaluations of frozen features, each a class called with a ViT."""

from .collapse_monitors import CollapseMonitors
from .dense_suite import DenseSuite
from .frozen_task import FrozenTask
from .object_discovery import ObjectDiscovery
from .segmentation_retrieval import SegmentationRetrieval
from .token_clustering import TokenClustering

__all__ = [
    'CollapseMonitors',
    'DenseSuite',
    'FrozenTask',
    'ObjectDiscovery',
    'SegmentationRetrieval',
    'TokenClustering',
]

"""Evaluations of frozen features, each a class called with a ViT."""

from .box_knn import BoxKNN
from .collapse_monitors import CollapseMonitors
from .davis import DavisPropagation
from .dense_suite import DenseSuite
from .frozen_task import FrozenTask
from .object_discovery import ObjectDiscovery
from .segmentation_retrieval import SegmentationRetrieval
from .token_clustering import TokenClustering

__all__ = [
    'BoxKNN',
    'CollapseMonitors',
    'DavisPropagation',
    'DenseSuite',
    'FrozenTask',
    'ObjectDiscovery',
    'SegmentationRetrieval',
    'TokenClustering',
]

"""Evaluation as pure functions on arrays and tensors."""

from .aggregated_similarity import aggregated_similarity
from .box_aligned_knn import bbox_knn
from .comparison_table import comparison_table
from .metrics_table import metrics_table
from .uavdt import evaluate_uavdt

__all__ = [
    'aggregated_similarity',
    'bbox_knn',
    'comparison_table',
    'evaluate_uavdt',
    'metrics_table',
]

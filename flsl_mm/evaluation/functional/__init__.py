"""Evaluation as pure functions on arrays and tensors."""

from ...utils.tables import comparison_table, metrics_table
from .aggregated_similarity import aggregated_similarity
from .box_aligned_knn import bbox_knn
from .davis import evaluate_davis
from .label_propagation import LabelPropagator, propagate_labels
from .uavdt import evaluate_uavdt

__all__ = [
    'LabelPropagator',
    'aggregated_similarity',
    'bbox_knn',
    'comparison_table',
    'evaluate_davis',
    'evaluate_uavdt',
    'metrics_table',
    'propagate_labels',
]

"""Evaluation as pure functions on arrays and tensors."""

from .aggregated_similarity import aggregated_similarity
from .box_aligned_knn import bbox_knn
from .comparison_table import comparison_table
from .davis import evaluate_davis
from .label_propagation import propagate_labels
from .label_propagator import LabelPropagator
from .metrics_table import metrics_table
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

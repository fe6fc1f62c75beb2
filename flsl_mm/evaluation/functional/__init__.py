"""Evaluation as pure functions on arrays and tensors."""

from ...utils.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        '.box_aligned_knn': ['bbox_knn'],
        '.davis': ['evaluate_davis'],
        '.label_propagation': ['LabelPropagator', 'propagate_labels'],
        '.similarity': ['aggregated_similarity'],
        '.uavdt': ['evaluate_uavdt'],
        '...utils.tables': ['comparison_table', 'metrics_table'],
    },
)

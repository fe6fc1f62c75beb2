from .aggregated_similarity import aggregated_similarity
from .metrics_table import metrics_table
from .uavdt import evaluate_uavdt

__all__ = ['aggregated_similarity', 'evaluate_uavdt', 'metrics_table']

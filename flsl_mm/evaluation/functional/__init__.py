from .metrics_table import metrics_table
from .uavdt import evaluate_uavdt

__all__ = ['evaluate_uavdt', 'metrics_table']

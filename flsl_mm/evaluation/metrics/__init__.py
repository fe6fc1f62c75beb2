"""Metrics that mmengine's test loop calls."""

from .standard_coco_metric import StandardCocoMetric
from .uavdt_metric import UAVDTMetric

__all__ = ['StandardCocoMetric', 'UAVDTMetric']

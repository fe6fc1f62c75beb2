"""Registers what ADE20K needs of mmseg; configs import it by name."""

from flsl_mm.evaluation.metrics.ade20k_metric import ADE20KMetric
from flsl_mm.models.heads.knn_seg_head import KNNSegHead

from .checked_ade20k_dataset import CheckedADE20KDataset
from .transforms.load_ade20k_labels import LoadADE20KLabels

__all__ = ['ADE20KMetric', 'CheckedADE20KDataset', 'KNNSegHead', 'LoadADE20KLabels']

"""What ADE20K needs of mmseg; configs import it by name."""

from .ade20k_metric import ADE20KMetric
from .dataset import CheckedADE20KDataset, LoadADE20KLabels
from .knn_seg_head import KNNSegHead

__all__ = ['ADE20KMetric', 'CheckedADE20KDataset', 'KNNSegHead', 'LoadADE20KLabels']

"""What ADE20K and other folders of masks need of mmseg; configs import it by name."""

from .ade20k_metric import ADE20KMetric
from .dataset import CheckedADE20KDataset, CheckedMaskDataset, LoadADE20KLabels, LoadMaskLabels
from .knn_seg_head import KNNSegHead

__all__ = [
    'ADE20KMetric',
    'CheckedADE20KDataset',
    'CheckedMaskDataset',
    'KNNSegHead',
    'LoadADE20KLabels',
    'LoadMaskLabels',
]

"""Necks: what comes between backbone and head."""

from .mean_shift_neck import Clusters, MeanShiftNeck, ViewPair

__all__ = ['Clusters', 'MeanShiftNeck', 'ViewPair']

from .mean_shift_neck import Clusters, MeanShiftNeck, ViewPair

__all__ = ['Clusters', 'MeanShiftNeck', 'ViewPair']

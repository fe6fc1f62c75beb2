"""Clusters to classes."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def match_one_to_one(counts: Tensor) -> Tensor:
    """The assignment of clusters to different classes that most pixels agree with (Hungarian).

    Args:
        counts: Pixels (k, C) by cluster and class.

    Returns:
        Tensor: Class (k,) of each cluster; -1 for those left over where k > C.
    """
    clusters, classes = linear_sum_assignment(counts.cpu().numpy(), maximize=True)
    matched = torch.full((len(counts),), -1, dtype=torch.long)
    matched[torch.from_numpy(clusters)] = torch.from_numpy(classes)
    return matched.to(counts.device)


def match_many_to_one(counts: Tensor) -> Tensor:
    """The most frequent class (k,) of each cluster, from the counts (k, C); for over-clustering."""
    return counts.argmax(dim=1)


def matched_confusion(counts: Tensor, classes: Tensor) -> Tensor:
    """Pixels (C, C) by predicted class and class, once each cluster stands for a class.

    Args:
        counts: Pixels (k, C) by cluster and class.
        classes: Class (k,) of each cluster, none of them below 0.
    """
    return counts.new_zeros(counts.shape[1], counts.shape[1]).index_add_(0, classes, counts)

"""k-means on the sphere, and which class each cluster is."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...utils.errors import DataError

_BLOCK = 2**24  # most similarities at a time


def spherical_kmeans(
    features: Tensor, num_clusters: int, seed: int = 0, max_iterations: int = 50
) -> Tensor:
    """Centroids that maximize the mean cosine of the features with their nearest.

    k-means++ seeding, then Lloyd's iterations until no feature changes its cluster. A cluster that
    loses all its features starts anew at the feature that is farthest from its own centroid. The
    same every time on the same device: sums are matrix products, which unlike scattered additions
    have a fixed order on a GPU. Memory beyond the features: blocks of similarities, 150 MiB.

    Args:
        features: Unit vectors (M, D).
        num_clusters: Number of clusters k, at most M.
        seed: Of the seeding. torch's global generators are left alone.
        max_iterations: Lloyd iterations at most.

    Returns:
        Tensor: Unit centroids (k, D), float32.

    Raises:
        DataError: There are fewer features than clusters.
    """
    if not 0 < num_clusters <= len(features):
        raise DataError(f'k-means: {len(features)} features, but {num_clusters} clusters wanted')
    centroids = _plus_plus(features, num_clusters, seed)
    previous = None
    for _ in range(max_iterations):
        sums, clusters, cosine = _assign(features, centroids)
        if previous is not None and torch.equal(clusters, previous):
            break
        previous = clusters
        empty = (torch.bincount(clusters, minlength=num_clusters) == 0).nonzero().flatten()
        if len(empty):
            sums[empty] = features[cosine.argsort()[: len(empty)]].float()
        centroids = F.normalize(sums, dim=1)
    return centroids


def nearest_centroids(features: Tensor, centroids: Tensor) -> Tensor:
    """Index (M,) of the centroid (k, D) with the largest cosine with each feature (M, D)."""
    blocks = features.split(max(1, _BLOCK // len(centroids)))
    return torch.cat([(block.to(centroids) @ centroids.T).argmax(dim=1) for block in blocks])


def _plus_plus(features: Tensor, num_clusters: int, seed: int) -> Tensor:
    """Seeds (k, D): each a feature, drawn with its distance from the seeds so far as weight.

    Between unit vectors the squared distance is 2 - 2 cos.
    """
    draws = torch.rand(num_clusters, generator=torch.Generator().manual_seed(seed)).double()
    weights = torch.ones(len(features), dtype=torch.double, device=features.device)
    seeds = []
    for draw in draws:
        steps = weights.cpu().cumsum(0)  # on a GPU its rounding differs from run to run
        # all features may coincide with a seed; then any is as good
        place = int(torch.searchsorted(steps, draw * steps[-1], right=True))
        seeds.append(features[min(place, len(features) - 1)].float())
        distance = 1 - (features @ seeds[-1].to(features)).double()
        distance[distance < 1e-6] = 0  # rounding would let copies of a seed be drawn
        weights = distance if len(seeds) == 1 else torch.minimum(weights, distance)
    return torch.stack(seeds)


def _assign(features: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum (k, D) of each cluster's features, and each feature's cluster (M,) and cosine (M,)."""
    sums, clusters, cosines = torch.zeros_like(centroids), [], []
    numbers = torch.arange(len(centroids), device=centroids.device)
    for block in features.split(max(1, _BLOCK // len(centroids))):
        block = block.to(centroids)
        cosine, cluster = (block @ centroids.T).max(dim=1)
        sums += (cluster[:, None] == numbers).to(block).T @ block
        clusters.append(cluster)
        cosines.append(cosine)
    return sums, torch.cat(clusters), torch.cat(cosines)


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

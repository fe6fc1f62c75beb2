"""Clusters of tokens against classes."""

from statistics import fmean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import broadcast
from torch import Tensor

from ...models import FrozenViT
from ...registry import FROZEN_TASKS
from ...utils.errors import ConfigError, DataError
from ..functional.clustering import (
    match_many_to_one,
    match_one_to_one,
    matched_confusion,
    nearest_centroids,
    spherical_kmeans,
)
from ..functional.segmentation_scores import confusion_matrix, segmentation_scores
from .dense_images import DenseImage
from .dense_task import DenseTask
from .frozen_task import gather_by_index, sum_processes


@FROZEN_TASKS.register_module()
class TokenClustering(DenseTask):
    """Unsupervised segmentation: k-means over the tokens of all images, clusters as classes.

    Spherical k-means is fitted to tokens of all images, equally many of each drawn at random. Then
    all tokens go to their nearest centroid, and each pixel has the cluster of the token that it
    lies in. With as many clusters as classes occur, clusters and classes are matched one to one so
    that most pixels agree (Hungarian method). With ``over_clustering`` times as many, each cluster
    stands for its most frequent class. Both matchings see the labels, so the figures compare
    networks; they are no segmentor's.

    Memory: the tokens of this process's images in half precision, 1.6 GB for ADE20K's 2,000
    validation images with 1,024 tokens of width 384.

    Args:
        fit_tokens: About how many tokens k-means sees; all where there are fewer.
        over_clustering: Clusters by class in the second figure.
        starts: How many times k-means is run, each time from other first centroids. The figures are
            means over them: on some dozens of images single ones lie a point or more apart.
        seed: Of the drawing and of the first run.
        args, kwargs: See :class:`DenseTask`; ``train`` is not used.

    Raises:
        ConfigError: ``starts`` is less than 1.
    """

    name = 'clustering'
    headline = 'mIoU'

    def __init__(
        self,
        *args,
        fit_tokens: int = 250_000,
        over_clustering: int = 4,
        starts: int = 1,
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._fit_tokens_per_image = max(1, fit_tokens // len(self.val))
        if starts < 1:
            raise ConfigError(f'TokenClustering: starts must be at least 1, got {starts}')
        self.over_clustering = over_clustering
        self.starts, self.seed = starts, seed

    def start(self, vit: FrozenViT) -> None:
        """Forget earlier tokens."""
        self._device = next(vit.parameters()).device
        self._tokens: dict[int, Tensor] = {}
        self._fitted: dict[int, Tensor] = {}
        self._pixels: dict[int, Tensor] = {}

    def update(self, image: DenseImage) -> None:
        """Keep the tokens of an image and how many pixels of each class lie in each of them."""
        tokens = F.normalize(image.tokens, dim=1).half().cpu()
        generator = torch.Generator().manual_seed(self.seed * 2**32 + image.index)
        chosen = torch.randperm(len(tokens), generator=generator)[: self._fit_tokens_per_image]
        self._tokens[image.index] = tokens
        self._fitted[image.index] = tokens[chosen]
        self._pixels[image.index] = _count_pixels(image)

    def finish(self) -> dict[str, Any]:
        """In percent, one to one and over-clustered; in the details the numbers of clusters.

        Of several starts the details have the standard deviations (n - 1), too.
        """
        pixels = torch.cat([torch.zeros(0, 3, dtype=torch.long), *self._pixels.values()])
        occurring = torch.zeros(self.val.num_classes, dtype=torch.long)
        occurring[pixels[:, 1]] = 1
        classes = sum_processes(occurring.to(self._device)).nonzero().flatten().cpu()
        if not len(classes):
            raise DataError('clustering: no pixel of the masks to evaluate is labelled')
        fitted = gather_by_index(self._fitted).to(self._device).float()
        fitted = F.normalize(fitted, dim=1)
        numbers: dict[str, Any] = dict(details={})
        for prefix, count in (('', len(classes)), ('over_', self.over_clustering * len(classes))):
            if count > len(fitted):
                raise DataError(
                    f'clustering: {count} clusters wanted of {len(fitted)} tokens; '
                    'take more images, or a larger short_side'
                )
            match = match_many_to_one if prefix else match_one_to_one
            scores = []
            for seed in range(self.seed, self.seed + self.starts):
                counts = self._count(fitted, count, seed)[:, classes]
                scores.append(segmentation_scores(matched_confusion(counts, match(counts))))
            numbers['details'][f'{prefix}clusters'] = count
            for key in ('mIoU', 'aAcc'):
                values = [score[key] for score in scores]
                numbers[f'{prefix}{key}'] = fmean(values)
                if len(values) > 1:
                    numbers['details'][f'{prefix}{key}_deviation'] = stdev(values)
        return numbers

    def _count(self, fitted: Tensor, num_clusters: int, seed: int) -> Tensor:
        """Pixels (k, C) of all images by cluster and class, on the CPU.

        Args:
            fitted: Unit vectors (M, D).
            num_clusters: Number of clusters k.
            seed: Of k-means.
        """
        centroids = spherical_kmeans(fitted, num_clusters, seed)
        broadcast(centroids)  # GPUs of different kinds could round differently
        counts = torch.zeros(num_clusters, self.val.num_classes, dtype=torch.long)
        for index, pixels in self._pixels.items():
            clusters = nearest_centroids(self._tokens[index].to(self._device), centroids).cpu()
            token, label, number = pixels.unbind(1)
            counts += confusion_matrix(clusters[token], label, tuple(counts.shape), number)
        return sum_processes(counts.to(self._device)).cpu()


def _count_pixels(image: DenseImage) -> Tensor:
    """Rows (token, class, number of pixels) of labelled pixels of an image, int64 (R, 3)."""
    rows, columns = (
        torch.div(torch.arange(size) * count, size, rounding_mode='floor')
        for count, size in zip(image.grid, image.labels.shape)
    )
    labels = image.labels.long()
    token = rows[:, None] * image.grid[1] + columns
    labelled = labels >= 0
    span = int(labels.max()) + 1
    pairs, numbers = (token * span + labels)[labelled].unique(return_counts=True)
    return torch.stack([pairs // max(span, 1), pairs % max(span, 1), numbers], dim=1)

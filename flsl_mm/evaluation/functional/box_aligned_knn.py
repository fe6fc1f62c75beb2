"""k-NN classification of box-aligned features (paper, Table 7 and ablations).

Each image has n features, one for each cell of a grid over its box. Each test feature is
classified by itself, from the k most similar training features with votes weighted
``exp(similarity / temperature)``; an image counts as right when any of its n features is.

Only a block of similarities exists at a time, see :func:`count_right`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils.errors import ConfigError, DataError
from .neighbors import BANK_BLOCK, nearest_neighbors

Array = np.ndarray | Tensor


def bbox_knn(
    train_features: Array,
    train_labels: Array,
    test_features: Array,
    test_labels: Array,
    k: int,
    temperature: float = 0.07,
) -> float:
    """Top-1 accuracy of box-aligned k-NN.

    Args:
        train_features: (L, n, D), of any length; they are L2-normalized here.
        train_labels: Classes (L,), integers.
        test_features: (T, n, D).
        test_labels: Classes (T,). A class that has no training image is never right.
        k: Training features that vote.
        temperature: Of the votes' weights; the smaller, the more the nearest count.

    Returns:
        float: Images with at least one rightly classified feature, in percent.

    Raises:
        ValueError: Shapes do not fit together.
        DataError: A feature is not finite.
        ConfigError: ``k`` is not between 1
            and the number of training features.
    """
    labelings = torch.as_tensor(train_labels)[None]
    right = count_right(
        train_features, labelings, test_features, test_labels, [k], temperature=temperature
    )
    return 100 * right.item() / len(test_features)


def count_right(
    train_features: Array,
    train_labelings: Array,
    test_features: Array,
    test_labels: Array,
    ks: Sequence[int],
    temperature: float = 0.07,
    max_memory: int = 2**30,
    device: torch.device | str | None = None,
    share: tuple[int, int] = (0, 1),
) -> Tensor:
    """Number of rightly classified images, for several k and several labelings in one pass.

    Neighbors are found by exact search, a chunk of test images after the other. Beside the
    features themselves, which stay where they are (a memory-mapped file, the CPU or the GPU), and
    the labels, the working memory is at most ``max_memory`` whatever the numbers of images:
    544,546 x 9 training features against 50,000 x 9 need no more than that.

    Args:
        train_features: (L, n, D); they are L2-normalized block by block.
        train_labelings: (R, L) classes, integers. Labelings whose rows are shuffled give the level
            of chance. They share the search.
        test_features: (T, n, D).
        test_labels: (T,).
        ks: Numbers of neighbors.
        temperature: Of the votes' weights.
        max_memory: Bound of the working memory in bytes.
        device: Where to compute; that of ``test_features`` by default. There it happens in float32,
            or float64 where the features are.
        share: ``(i, m)`` counts only every m-th chunk of test images from the i-th on. The counts
            of ``(0, m)`` to ``(m - 1, m)`` add up, exactly, to that of ``(0, 1)``, so that
            several processes can divide the work.

    Returns:
        Tensor: int64 (R, len(ks)), on the CPU.

    Raises:
        ConfigError: As for :func:`bbox_knn`, or ``max_memory`` is too small; the
            message says what is needed.
    """
    train, test = torch.as_tensor(train_features), torch.as_tensor(test_features)
    labelings, labels = torch.as_tensor(train_labelings), torch.as_tensor(test_labels)
    _check_features(train, labelings, test, labels, ks, temperature)
    labelings, labels = labelings.long(), labels.long()
    device = test.device if device is None else torch.device(device)
    precision = torch.float64 if train.dtype == torch.float64 else torch.float32
    # Classes as 0..C-1; a test class without training images is none of them.
    classes, labelings = torch.unique(labelings, return_inverse=True)
    places = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
    labels = torch.where(classes[places] == labels, places, -1)
    sizes = _Sizes(*test.shape[1:], max(ks), len(classes), precision.itemsize)
    chunk, pairs = _divide_memory(sizes, max_memory)
    # All sums stay on the device until the end, for which the host then waits once.
    right = torch.zeros(len(labelings), len(ks), dtype=torch.int64, device=device)
    labelings = labelings.to(device)
    for start in range(share[0] * chunk, len(test), share[1] * chunk):
        queries = test[start : start + chunk].flatten(0, 1).to(device).to(precision)
        similarity, neighbors = nearest_neighbors(
            F.normalize(queries, dim=1), train.flatten(0, 1), max(ks), pairs, normalize=True
        )
        if not torch.isfinite(similarity).all():
            raise DataError('bbox_knn: some features are not finite')
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        truth = labels[start : start + chunk, None].to(device)
        for r, labeling in enumerate(labelings):
            votes = labeling[neighbors // train.shape[1]]
            for column, predicted in _classify(weights, votes, len(classes), ks):
                hit = predicted.view(len(truth), -1) == truth
                right[r, column] += hit.any(dim=1).sum()
    return right.cpu()


class _Sizes(NamedTuple):
    """What the working memory depends on."""

    features: int  # of a test image
    dimensions: int
    k: int
    classes: int
    itemsize: int  # bytes of a number

    def pair_bytes(self) -> int:
        """Of one similarity: itself, and a copy with an index that the search may make."""
        return 2 * self.itemsize + 8

    def bank_bytes(self) -> int:
        """Of a block of training features: as they came, in single precision and normalized."""
        return 3 * max(BANK_BLOCK, self.k) * self.dimensions * self.itemsize

    def image_bytes(self) -> int:
        """Of a test image: features as above, neighbors thrice with indices, votes of classes."""
        neighbors = 3 * self.k * (self.itemsize + 8)
        numbers = 3 * self.dimensions + self.classes
        return self.features * (neighbors + numbers * self.itemsize)


def _divide_memory(sizes: _Sizes, max_memory: int) -> tuple[int, int]:
    """Test images in a chunk, and similarities in a block of them.

    Raises:
        ConfigError: Not even one image and its similarities fit.
    """
    least = sizes.bank_bytes() + 2 * max(sizes.image_bytes(), sizes.k * sizes.pair_bytes())
    if max_memory < least:
        raise ConfigError(
            f'bbox_knn: max_memory must be at least {least} bytes for {sizes.dimensions} '
            f'dimensions, k = {sizes.k} and {sizes.classes} classes, got {max_memory}'
        )
    half = (max_memory - sizes.bank_bytes()) // 2
    return half // sizes.image_bytes(), half // sizes.pair_bytes()


def _classify(
    weights: Tensor, votes: Tensor, num_classes: int, ks: Sequence[int]
) -> Iterator[tuple[int, Tensor]]:
    """Classes by weighted vote.

    Args:
        weights: (Q, K), in descending order.
        votes: Classes (Q, K) of the neighbors.
        num_classes: Number of classes C.
        ks: Numbers of neighbors, each at most K.

    Yields:
        tuple[int, Tensor]: A position in ``ks`` and the classes (Q,) for that k.
    """
    rows = torch.arange(len(weights), device=weights.device)
    totals = weights.new_zeros(len(weights), num_classes)
    counted = 0
    for column in sorted(range(len(ks)), key=lambda i: ks[i]):
        # One neighbor of each row at a time: the same order of additions on every device.
        for j in range(counted, ks[column]):
            totals[rows, votes[:, j]] += weights[:, j]
        counted = ks[column]
        yield column, totals.argmax(dim=1)


def _check_features(
    train: Tensor,
    labelings: Tensor,
    test: Tensor,
    labels: Tensor,
    ks: Sequence[int],
    temperature: float,
) -> None:
    """Refuse what does not fit together."""
    if train.ndim != 3 or test.ndim != 3 or train.shape[2] != test.shape[2]:
        raise ValueError(
            'bbox_knn: features must be (L, n, D) and (T, n, D), got '
            f'{tuple(train.shape)} and {tuple(test.shape)}'
        )
    if labelings.shape[1:] != train.shape[:1] or labels.shape != test.shape[:1]:
        raise ValueError(
            f'bbox_knn: {len(train)} and {len(test)} images, but labels of shape '
            f'{tuple(labelings.shape[1:])} and {tuple(labels.shape)}'
        )
    if labelings.is_floating_point() or labels.is_floating_point():
        raise ValueError('bbox_knn: labels must be integers')
    if not len(test) or not len(train):
        raise ValueError('bbox_knn: there are no images')
    total = train.shape[0] * train.shape[1]
    if not ks or not all(1 <= k <= total for k in ks):
        raise ConfigError(f'bbox_knn: k must be within 1..{total}, got {list(ks)}')
    if not temperature > 0:
        raise ConfigError(f'bbox_knn: temperature must be above 0, got {temperature}')

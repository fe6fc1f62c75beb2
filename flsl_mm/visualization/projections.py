"""Features in two or three dimensions: principal components and t-SNE."""

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import torch
import torch.nn.functional as F

from ..evaluation.functional.clustering import nearest_centroids, spherical_kmeans
from ..utils.errors import DataError


def principal_components(
    features: Sequence[np.ndarray], number: int = 3, also: np.ndarray | None = None
) -> list[np.ndarray]:
    """Project the tokens of several images on their common principal components.

    Args:
        features: Tokens (N_i, D) of each image.
        number: How many components.
        also: More tokens (M, D), projected on the same components.

    Returns:
        list[np.ndarray]: (N_i, number) for each image and (M, number) for ``also``, largest
        variance first. Of the two
        directions of a component the one is taken in which the largest projection is positive.

    Raises:
        DataError: There are fewer channels or tokens than components.
    """
    joined = np.concatenate(features).astype(np.float64)
    if min(joined.shape) < number:
        raise DataError(f'{number} components of {joined.shape[0]} tokens x {joined.shape[1]}')
    center = joined.mean(axis=0)
    centered = joined - center
    # Of D x D, which stays small for any number of tokens.
    _, directions = np.linalg.eigh(centered.T @ centered)
    directions = directions[:, ::-1][:, :number]
    projected = centered @ directions
    extreme = projected[np.abs(projected).argmax(axis=0), np.arange(number)]
    signs = np.where(extreme < 0, -1, 1)
    ends = np.cumsum([len(f) for f in features])[:-1]
    found = np.split(projected * signs, ends)
    return found if also is None else [*found, (also - center) @ directions * signs]


def as_colors(components: Sequence[np.ndarray], count: int | None = None) -> list[np.ndarray]:
    """Scale components of several images to 0-1, alike in all of them.

    The 1st and 99th percentile of each component become 0 and 1; beyond them colors are clipped.

    Args:
        components: (..., 3) for each image.
        count: The percentiles are those of so many, the first; of all by default.

    Returns:
        list[np.ndarray]: float, same shapes.
    """
    joined = np.concatenate([c.reshape(-1, c.shape[-1]) for c in components[:count]])
    low, high = np.percentile(joined, (1, 99), axis=0)
    span = np.where(high > low, high - low, 1)
    return [((c - low) / span).clip(0, 1) for c in components]


def tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Embed tokens (T, D) in the plane with t-SNE, (T, 2).

    Perplexity is 30, or a quarter of the number of tokens where that is less.

    Raises:
        DataError: scikit-learn is missing, or there are fewer than 4 tokens.
    """
    if len(features) < 4:
        raise DataError(f't-SNE needs at least 4 tokens, got {len(features)}')
    try:
        manifold = import_module('sklearn.manifold')
    except ImportError as error:
        raise DataError(f't-SNE needs scikit-learn ({error}): pip install scikit-learn') from error
    embedding = manifold.TSNE(perplexity=min(30, len(features) / 4), init='pca', random_state=seed)
    return embedding.fit_transform(features.astype(np.float32))


def kmeans(features: np.ndarray, clusters: int, seed: int = 0) -> np.ndarray:
    """Cluster tokens (T, D) on the unit sphere; int labels (T,), the largest cluster being 0.

    Raises:
        DataError: There are fewer tokens than clusters.
    """
    if len(features) < clusters:
        raise DataError(f'{clusters} clusters of {len(features)} tokens: give a smaller number')
    unit = F.normalize(torch.from_numpy(features).float(), dim=1)
    labels = nearest_centroids(unit, spherical_kmeans(unit, clusters, seed)).numpy()
    order = np.argsort(-np.bincount(labels, minlength=clusters), kind='stable')
    return np.argsort(order)[labels]

"""Tokens of several images in the plane, by t-SNE, with what colors them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..models import FrozenViT
from ..utils.errors import ConfigError
from ..utils.token_grid import grid_of_size
from .layer_tokens import resolve_layers
from .projections import kmeans, tsne
from .token_maps import Images, Progress, Vits, encode_all

COLOR_BY = ('image', 'mask', 'cluster')


class TokenEmbedding(NamedTuple):
    """Tokens of one network.

    Attributes:
        layers: Block numbers from 1.
        points: (T, 2) for each layer.
        labels: int (T,): the number of the image, the label of the mask or the cluster.
        images: int (T,), the number of the image that each token is from.
        tokens: int (T,), its row-major index in that image's grid.
    """

    layers: tuple[int, ...]
    points: list[np.ndarray]
    labels: np.ndarray
    images: np.ndarray
    tokens: np.ndarray


def embed_tokens(
    vits: Vits,
    images: Images,
    layers: Sequence[int] | None = None,
    color_by: str = 'image',
    masks: Sequence[np.ndarray] | None = None,
    clusters: int = 8,
    max_tokens: int = 1500,
    seed: int = 0,
    progress: Progress = iter,
) -> dict[str, TokenEmbedding]:
    """Embed the tokens of all images together, for each network and layer (paper, Figure 4b).

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        layers: As in :func:`.resolve_layers`.
        color_by: ``'image'``; ``'mask'``: the most frequent label in a token's patch;
            ``'cluster'``: k-means on the tokens of the last of ``layers``, for each network.
        masks: Integer labels (H, W) of each image, for ``'mask'``.
        clusters: Number of clusters, for ``'cluster'``.
        max_tokens: Tokens drawn at random, equally many from each image; all if there are fewer.
        seed: Of the draw, of k-means and of t-SNE.
        progress: Shows how far it is.

    Returns:
        dict[str, TokenEmbedding]: By the name of the network.

    Raises:
        ConfigError: ``color_by`` is unknown, or masks are missing.
        DataError: scikit-learn is missing, or there are too few tokens.
    """
    if color_by not in COLOR_BY:
        raise ConfigError(f'color_by must be one of {", ".join(COLOR_BY)}, got {color_by!r}')
    if color_by == 'mask' and masks is None:
        raise ConfigError("color_by='mask' needs masks")
    encoded = encode_all(vits, images, layers, progress)
    drawn = {}
    for label, vit in vits.items():
        counts = [len(tokens[0]) for tokens in encoded[label]]
        chosen = _draw(counts, max_tokens, seed)
        features = [
            np.concatenate([tokens[layer][index] for tokens, index in zip(encoded[label], chosen)])
            for layer in range(len(resolve_layers(vit, layers)))
        ]
        numbers = np.repeat(np.arange(len(images)), [len(index) for index in chosen])
        if color_by == 'image':
            labels = numbers
        elif color_by == 'mask':
            labels = _mask_labels(vit, masks, chosen)
        else:
            labels = kmeans(features[-1], clusters, seed)
        drawn[label] = TokenEmbedding(
            resolve_layers(vit, layers), features, labels, numbers, np.concatenate(chosen)
        )
    jobs = [(label, features) for label, e in drawn.items() for features in e.points]
    points: dict[str, list] = {label: [] for label in vits}
    for label, features in progress(jobs):
        points[label].append(tsne(features, seed))
    return {label: e._replace(points=points[label]) for label, e in drawn.items()}


def patch_labels(mask: np.ndarray, patch_size: int) -> np.ndarray:
    """The most frequent label in every patch, the smaller one of two equally frequent.

    Args:
        mask: Integer labels (H, W).
        patch_size: Side of a patch in pixels.

    Returns:
        np.ndarray: (N,), row-major; patches that reach over the edge count what is inside.
    """
    rows, columns = grid_of_size(*mask.shape, patch_size)
    padding = [(0, -n % patch_size) for n in mask.shape]
    labels = np.unique(mask)
    counts = []
    for label in labels:
        padded = np.pad(mask == label, padding)
        counts.append(padded.reshape(rows, patch_size, columns, patch_size).sum(axis=(1, 3)))
    return labels[np.argmax(counts, axis=0)].ravel()


def _draw(counts: Sequence[int], total: int, seed: int) -> list[np.ndarray]:
    """Indices of at most ``total`` tokens, equally many of each image, sorted."""
    rng = np.random.default_rng(seed)
    share = max(1, total // len(counts))
    return [np.sort(rng.permutation(count)[:share]) for count in counts]


def _mask_labels(
    vit: FrozenViT, masks: Sequence[np.ndarray], chosen: Sequence[np.ndarray]
) -> np.ndarray:
    by_image = [patch_labels(mask, vit.patch_size)[index] for mask, index in zip(masks, chosen)]
    return np.concatenate(by_image)

"""The paper's pictures, from networks and images to a matplotlib figure in one call.

Networks are given by the name to show, ``{'FLSL': build_vit(...), 'DINO': build_vit(...)}``, and
images as uint8 arrays (H, W, 3) of any sizes. The arrays behind a picture come from the function of
the same subject in :mod:`.token_maps`; :func:`.draw_maps` draws them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .embedding_figure import draw_embeddings
from .map_figure import Colors, draw_maps
from .query_points import Point
from .token_embedding import TokenEmbedding, embed_tokens
from .token_maps import (
    LAST,
    Images,
    Vits,
    ass_maps,
    attention_maps,
    mode_maps,
    pca_maps,
    pick_points,
)

ASS_COLORS = Colors('aggregated similarity score')
ATTENTION_COLORS = Colors("attention, by the map's maximum", relative=True)
MODE_COLORS = Colors("weight in the mode, by the mask's maximum", relative=True)
PCA_COLORS = Colors('')


def attention_figure(
    vits: Vits,
    images: Images,
    points: Sequence[Sequence[Point]] | None = None,
    layers: Sequence[int] | None = LAST,
) -> Figure:
    """What query points attend to inside a block: the paper's attention-probing maps (Figure 4a).

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        points: Query points of each image, x and y in fractions of it; chosen by the first
            network where None.
        layers: Blocks to show, from 1 or from -1 backwards; None for four of them.
    """
    points = points or pick_points(next(iter(vits.values())), images)
    maps = attention_maps(vits, images, points, layers)
    return draw_maps(images, maps, ATTENTION_COLORS, points=points)


def ass_figure(vits: Vits, images: Images, layers: Sequence[int] | None = None) -> Figure:
    """Aggregated similarity scores by layer (Figures 4 and 6); arguments as above."""
    return draw_maps(images, ass_maps(vits, images, layers), ASS_COLORS)


def modes_figure(
    vits: Vits,
    images: Images,
    points: Sequence[Sequence[Point]] | None = None,
    scale: float | None = None,
) -> Figure:
    """Regions that the modes of query points are made of, with their effective sizes in tokens.

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        points: As in :func:`attention_figure`.
        scale: Factor of the mean-shift's logits; None as in :func:`mode_maps`.
    """
    points = points or pick_points(next(iter(vits.values())), images)
    maps = mode_maps(vits, images, points, scale)
    return draw_maps(images, maps, MODE_COLORS, points=points)


def pca_figure(vits: Vits, images: Images, layers: Sequence[int] | None = LAST) -> Figure:
    """Three principal components of all images' tokens as colors; arguments as above."""
    return draw_maps(images, pca_maps(vits, images, layers), PCA_COLORS)


def tsne_figure(
    vits: Vits,
    images: Images,
    layers: Sequence[int] | None = None,
    color_by: str = 'image',
    masks: Sequence[np.ndarray] | None = None,
    label_names: Mapping[int, str] | None = None,
    **kwargs,
) -> Figure:
    """t-SNE of the tokens of all images, by layer (Figure 4b).

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        layers: Blocks to show, from 1 or from -1 backwards; None for four of them.
        color_by: ``'image'``, ``'mask'`` or ``'cluster'``.
        masks: Integer labels (H, W) of each image, for ``'mask'``.
        label_names: What to call the labels of masks.
        kwargs: Other arguments of :func:`.embed_tokens`.
    """
    embeddings = embed_tokens(vits, images, layers, color_by, masks, **kwargs)
    return draw_tsne(embeddings, color_by, label_names=label_names)


def draw_tsne(
    embeddings: Mapping[str, TokenEmbedding],
    color_by: str,
    names: Sequence[str] | None = None,
    label_names: Mapping[int, str] | None = None,
) -> Figure:
    """Draw embedded tokens with the names that their labels have.

    Args:
        embeddings: By the name of the network.
        color_by: What their labels are, as in :func:`tsne_figure`.
        names: What to call the images; their numbers by default.
        label_names: What to call the labels of masks.
    """
    if color_by == 'image':
        count = 1 + max(int(e.images.max()) for e in embeddings.values())
        label_names = dict(enumerate(names or [f'image {i + 1}' for i in range(count)]))
    elif color_by == 'cluster':
        count = 1 + max(int(e.labels.max()) for e in embeddings.values())
        label_names = {i: f'cluster {i + 1}' for i in range(count)}
    return draw_embeddings(embeddings, label_names or {}, color_by)

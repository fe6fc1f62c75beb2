"""The arrays behind the pictures: maps of several networks on several images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..evaluation.functional.similarity import aggregated_similarity
from ..models import FrozenViT
from ..models.mean_shift import effective_number, mean_shift_weights
from ..models.place import PLACES, at_places, place_moments, place_share
from ..utils.errors import ConfigError
from ..utils.token_grid import grid_of_size
from .layer_tokens import layer_tokens, probe_attention, resolve_layers
from .projections import as_colors, principal_components
from .query_points import Point, choose_points, token_at

MAX_ITERATIONS = 500
TOLERANCE = 1e-4  # of a query's step, relative to its length


def mode_regions(tokens: Tensor, queries: Tensor, scale: float, iterate: bool = False) -> Tensor:
    """Soft masks of the tokens that the modes of queries draw on (paper, Eq. 4).

    ``softmax(scale * z Z^T)``: the weights with which one mean-shift update averages the tokens.
    Iterated, z climbs the density of the (fixed) tokens until it rests, and the mask is that of
    the resting point: queries of one basin share it.

    Args:
        tokens: (N, D).
        queries: Indices of the query tokens (Q,).
        scale: Factor of the logits; larger means smaller regions.
        iterate: Whether to climb until every step is below 1e-4 of its query's length, at most 500
            times.

    Returns:
        Tensor: Masks (Q, N), rows summing to 1.
    """
    keys, points = tokens.unsqueeze(0), tokens[queries].unsqueeze(0)
    weights = mean_shift_weights(points, keys, scale)
    if not iterate:
        return weights[0]
    for _ in range(MAX_ITERATIONS):
        moved = weights @ keys
        step = (moved - points).norm(dim=-1) / points.norm(dim=-1).clamp(min=1e-12)
        points, weights = moved, mean_shift_weights(moved, keys, scale)
        if step.max() < TOLERANCE:
            break
    return weights[0]


Vits = Mapping[str, FrozenViT]
Images = Sequence[np.ndarray]
# Wraps what is worked through, to show how far it is; mmengine's `track_iter_progress` is one.
Progress = Callable[[Sequence], Iterable]

LAST = (-1,)
# Self-attention's scale in the released code.
RELEASED_SCALE = 0.1 / 384**0.5


class TokenMaps(NamedTuple):
    """Maps of one network.

    Attributes:
        patch_size: Side in pixels of what a value stands for.
        layers: Block numbers from 1.
        maps: For each image (L, Q, rows, columns), with Q = 1 where there are no queries; colors
            have a last axis of 3. The grid covers the image padded to whole patches.
        notes: For each image the texts to show with its maps, by [layer][query]; empty for none.
    """

    patch_size: int
    layers: tuple[int, ...]
    maps: list[np.ndarray]
    notes: Sequence[Sequence[Sequence[str]]] = ()


def pick_points(vit: FrozenViT, images: Images, number: int = 2) -> list[list[Point]]:
    """Query points for each image, chosen by a network's last tokens (:func:`choose_points`)."""
    points = []
    for image in images:
        [tokens] = layer_tokens(vit, image, [vit.depth])
        size = image.shape[:2]
        points.append(choose_points(tokens, _grid_of(vit, image), size, vit.patch_size, number))
    return points


def ass_maps(
    vits: Vits, images: Images, layers: Sequence[int] | None = None, progress: Progress = iter
) -> dict[str, TokenMaps]:
    """Aggregated similarity scores of every layer (Section 5.5, Figures 4 and 6).

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each, of any sizes.
        layers: As in :func:`resolve_layers`.
        progress: Shows how far it is.

    Returns:
        dict[str, TokenMaps]: Scores, at most 1.
    """

    def compute(vit: FrozenViT, i: int, layers: tuple[int, ...]) -> np.ndarray:
        tokens = torch.stack(layer_tokens(vit, images[i], layers))  # (L, N, D)
        return _as_map(aggregated_similarity(tokens).unsqueeze(1), _grid_of(vit, images[i]))

    return _collect(vits, images, layers, compute, progress)


def attention_maps(
    vits: Vits,
    images: Images,
    points: Sequence[Sequence[Point]],
    layers: Sequence[int] | None = LAST,
    progress: Progress = iter,
) -> dict[str, TokenMaps]:
    """Attention of query tokens inside blocks, :func:`probe_attention` (Section 5.4, Figure 4).

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        points: Query points of each image.
        layers: As in :func:`resolve_layers`.
        progress: Shows how far it is.

    Returns:
        dict[str, TokenMaps]: Attention; every map sums to 1.
    """

    def compute(vit: FrozenViT, i: int, layers: tuple[int, ...]) -> np.ndarray:
        queries = _query_tokens(vit, images[i], points[i])
        return _as_map(probe_attention(vit, images[i], queries, layers), _grid_of(vit, images[i]))

    return _collect(vits, images, layers, compute, progress)


def prefix_maps(
    vits: Vits,
    images: Images,
    layers: Sequence[int] | None = LAST,
    token: int = 0,
    progress: Progress = iter,
) -> dict[str, TokenMaps]:
    """Attention of a prefix token inside blocks, the mean over the heads: DINO's picture.

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        layers: As in :func:`resolve_layers`.
        token: Which one: 0 is the class token, registers follow.
        progress: Shows how far it is.

    Returns:
        dict[str, TokenMaps]: Attention on the patches; a map sums to less than 1, as the prefix
        tokens have their share.

    Raises:
        ConfigError: A network has no such token.
    """
    for name, vit in vits.items():
        if not 0 <= token < vit.num_prefix_tokens:
            raise ConfigError(
                f'{name} has {vit.num_prefix_tokens} prefix tokens, counted from 0: '
                f'no token {token}'
            )

    def compute(vit: FrozenViT, i: int, layers: tuple[int, ...]) -> np.ndarray:
        query = token - vit.num_prefix_tokens
        return _as_map(probe_attention(vit, images[i], [query], layers), _grid_of(vit, images[i]))

    return _collect(vits, images, layers, compute, progress)


def mode_scale(vit: FrozenViT, given: float | None = None) -> tuple[float, str]:
    """The factor of the mean-shift's logits for a network, and in words where it is from."""
    if given is not None:
        return given, 'as given'
    if vit.self_scale is not None:
        return vit.self_scale, 'that of its training'
    return RELEASED_SCALE, "the release's: the file records none"


def mode_maps(
    vits: Vits,
    images: Images,
    points: Sequence[Sequence[Point]],
    scale: float | None = None,
    iterate: bool = False,
    progress: Progress = iter,
) -> dict[str, TokenMaps]:
    """Regions that queries' modes are made of, :func:`mode_regions`, after the last block.

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        points: Query points of each image.
        scale: Factor of the logits; None for the one that each network was trained with, or the
            release's where its file does not record one.
        iterate: Whether to climb to convergence.
        progress: Shows how far it is.

    Returns:
        dict[str, TokenMaps]: Masks that sum to 1; the notes give their effective sizes in tokens.
    """

    def compute(vit: FrozenViT, i: int, layers: tuple[int, ...]) -> np.ndarray:
        [tokens] = layer_tokens(vit, images[i], layers)
        queries = torch.tensor(_query_tokens(vit, images[i], points[i]), device=tokens.device)
        masks = mode_regions(tokens, queries, mode_scale(vit, scale)[0], iterate)
        return _as_map(masks.unsqueeze(0), _grid_of(vit, images[i]))

    found = _collect(vits, images, LAST, compute, progress)
    return {
        label: by_image._replace(notes=[_sizes(masks) for masks in by_image.maps])
        for label, by_image in found.items()
    }


def _sizes(masks: np.ndarray) -> list[list[str]]:
    """Effective size of each mask of one image, as text."""
    weights = torch.from_numpy(masks).flatten(-2)  # (L, Q, N)
    total = weights.shape[-1]
    return [[f'{n:.0f} of {total} tokens' for n in layer] for layer in effective_number(weights)]


def pca_maps(
    vits: Vits, images: Images, layers: Sequence[int] | None = LAST, progress: Progress = iter
) -> dict[str, TokenMaps]:
    """Three principal components of the tokens as red, green and blue.

    Components and their ranges are those of all images together, for each network and layer, so
    that a color means the same in every image.

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each.
        layers: As in :func:`resolve_layers`.
        progress: Shows how far it is.

    Returns:
        dict[str, TokenMaps]: Colors (L, 1, rows, columns, 3), 0-1.
    """
    tokens = encode_all(vits, images, layers, progress)
    found = {}
    for label, vit in vits.items():
        shapes = [(1, *_grid_of(vit, image), 3) for image in images]
        by_layer = []
        for features in zip(*tokens[label]):
            colors = as_colors(principal_components(features))
            by_layer.append([c.reshape(shape) for c, shape in zip(colors, shapes)])
        maps = [np.stack(image_maps) for image_maps in zip(*by_layer)]
        found[label] = TokenMaps(vit.patch_size, resolve_layers(vit, layers), maps)
    return found


def place_maps(
    vits: Vits, images: Images, shown: int, progress: Progress = iter
) -> dict[str, TokenMaps]:
    """Colors of tokens, and of the mean token of each place: what the place alone tells.

    Components and their ranges are those of the shown images, so that colors can be compared: a
    mean that goes from one color to another says that tokens are codes of their place.

    Args:
        vits: Networks by the name to show.
        images: uint8 (H, W, 3) each, some dozen, for a mean of few images shows these.
        shown: So many of them, the first, have maps of their own.
        progress: Shows how far it is.

    Returns:
        dict[str, TokenMaps]: Of the last block: colors (1, 1, rows, columns, 3), 0-1, of the shown
        images, then those of :data:`.PLACES` x :data:`.PLACES` places. The notes are '' for images,
        and for the mean the :func:`.place_share` of all images.
    """
    tokens = encode_all(vits, images, LAST, progress)
    found = {}
    for label, vit in vits.items():
        features = [torch.from_numpy(layers[0]) for layers in tokens[label]]
        units = torch.stack(
            [
                at_places(F.normalize(x, dim=-1), _grid_of(vit, image), PLACES)
                for x, image in zip(features, images)
            ]
        )
        # The components are those of the images alone: the mean is shown in their colors.
        own = [F.normalize(x, dim=-1).numpy() for x in features[:shown]]
        colors = as_colors(principal_components(own, also=units.mean(dim=0).numpy()), len(own))
        shapes = [(1, 1, *_grid_of(vit, image), 3) for image in images[:shown]]
        shapes.append((1, 1, PLACES, PLACES, 3))
        share = float(place_share(*place_moments(units)))
        notes = [[['']]] * shown + [[[f'place share {share:.2f}']]]
        maps = [c.reshape(shape) for c, shape in zip(colors, shapes)]
        found[label] = TokenMaps(vit.patch_size, resolve_layers(vit, LAST), maps, notes)
    return found


def encode_all(
    vits: Vits, images: Images, layers: Sequence[int] | None, progress: Progress = iter
) -> dict[str, list[list[np.ndarray]]]:
    """Tokens (N, D) after chosen blocks, by [network][image][layer]."""
    found: dict[str, list] = {label: [] for label in vits}
    for label, image in progress([(label, image) for label in vits for image in images]):
        vit = vits[label]
        tokens = layer_tokens(vit, image, resolve_layers(vit, layers))
        found[label].append([t.float().cpu().numpy() for t in tokens])
    return found


def _collect(
    vits: Vits,
    images: Images,
    layers: Sequence[int] | None,
    compute: Callable[[FrozenViT, int, tuple[int, ...]], np.ndarray],
    progress: Progress,
) -> dict[str, TokenMaps]:
    """Maps of every network on every image."""
    found = {
        label: TokenMaps(vit.patch_size, resolve_layers(vit, layers), [])
        for label, vit in vits.items()
    }
    for label, i in progress([(label, i) for label in vits for i in range(len(images))]):
        found[label].maps.append(compute(vits[label], i, found[label].layers))
    return found


def _query_tokens(vit: FrozenViT, image: np.ndarray, points: Sequence[Point]) -> list[int]:
    return [token_at(point, image.shape[:2], vit.patch_size) for point in points]


def _grid_of(vit: FrozenViT, image: np.ndarray) -> tuple[int, int]:
    """Rows and columns of the tokens of an image (H, W, 3)."""
    return grid_of_size(*image.shape[:2], vit.patch_size)


def _as_map(values: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """(L, Q, N) to (L, Q, rows, columns)."""
    return values.float().cpu().unflatten(-1, grid).numpy()

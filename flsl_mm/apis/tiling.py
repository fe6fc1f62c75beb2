"""Pictures that are larger than a network's input: cut into tiles, and put together again.

Objects of a picture that lie on a seam are seen by two tiles or more, cut by the borders of some.
What two tiles say is compared where both look: there, one object has one box, cut or not. Merging
by the overlap of whole boxes, as the usual suppression does, would take a part for another object.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torchvision.ops import box_iou

from ..utils.errors import ConfigError

SAME_OBJECT = 0.5  # least IoU of two boxes where both tiles look
TOUCHES = 0.01  # of a tile's side: an object whose box ends so near to a seam is cut by it


class Tile(NamedTuple):
    """A part of a picture, in pixels: ``pixels[top:bottom, left:right]``."""

    left: int
    top: int
    right: int
    bottom: int


def make_tiles(size: tuple[int, int], side: int, overlap: float) -> list[Tile]:
    """Tiles that cover a picture, evenly spread, row by row from the top left.

    Args:
        size: Height and width of the picture in pixels.
        side: Of the tiles; a picture that is smaller is one tile along that side.
        overlap: Least share of a tile's side that it has in common with the next one, in [0, 1).
    """
    (rows, height), (columns, width) = (_starts(length, side, overlap) for length in size)
    return [Tile(x, y, x + width, y + height) for y in rows for x in columns]


def _starts(length: int, side: int, overlap: float) -> tuple[list[int], int]:
    """Where tiles start along an axis, and how long they are."""
    if length <= side:
        return [0], length
    step = max(1, int(side * (1 - overlap)))
    number = -(-(length - side) // step) + 1
    return np.linspace(0, length - side, number).round().astype(int).tolist(), side


def merge_tiles(
    tiles: Sequence[Tile],
    samples: Iterable[BaseDataElement],
    size: tuple[int, int],
    score: float = 0.0,
) -> BaseDataElement:
    """The prediction for a picture, of those for its tiles.

    Args:
        tiles: Of :func:`make_tiles`.
        samples: What the network found in each, on the CPU; may be an iterator.
        size: Height and width of the picture in pixels.
        score: Detections of a lower score are left out: masks take a byte for each pixel.

    Returns:
        BaseDataElement: With ``pred_instances`` (those that several tiles found once) or
        ``pred_sem_seg`` (of the logits' sum over the tiles that see a pixel).

    Raises:
        ConfigError: The segmentor has one logit for two classes.
    """
    samples = iter(samples)
    first = next(samples)
    samples = chain([first], samples)
    if 'pred_sem_seg' in first:
        labels = _merge_logits(tiles, (s.seg_logits.data for s in samples), size)
        return type(first)(pred_sem_seg=PixelData(data=labels[None]))
    found = [s.pred_instances[s.pred_instances.scores >= score] for s in samples]
    return type(first)(pred_instances=merge_detections(tiles, found, size))


def _merge_logits(tiles: Sequence[Tile], logits: Iterable[Tensor], size: tuple[int, int]) -> Tensor:
    """Labels (H, W) of the sum of logits (C, h, w); a row of tiles is kept in memory."""
    labels = torch.empty(size, dtype=torch.long)
    band, top = torch.zeros(0, 0, 0), 0  # sums (C, rows, W) from that row on
    for tile, values in zip(tiles, logits):
        classes, height, _ = values.shape
        if classes == 1:
            raise ConfigError('tiles: a segmentor with one logit for two classes is not supported')
        if tile.top > top or not band.numel():
            labels[top : tile.top] = band[:, : tile.top - top].argmax(0) if band.numel() else 0
            kept, top = band[:, tile.top - top :], tile.top
            band = torch.zeros(classes, height, size[1])
            if kept.numel():
                band[:, : kept.shape[1]] = kept
        band[..., tile.left : tile.right] += values
    labels[top:] = band.argmax(0)
    return labels


def merge_detections(
    tiles: Sequence[Tile], found: Sequence[InstanceData], size: tuple[int, int]
) -> InstanceData:
    """The objects of a picture, each once.

    Two detections of one class in two tiles are of one object where their boxes, clipped to what
    both tiles see, have an IoU of at least 0.5 and either is the other's best. Of an object that
    some tile sees whole, the surest such detection counts; else box and mask are the union of what
    the tiles saw, and the score is the highest.

    Args:
        tiles: Of :func:`make_tiles`.
        found: Of each tile, with ``bboxes`` (n, 4), ``labels``, ``scores`` and perhaps ``masks``
            (n, h, w), all in pixels of the tile.
        size: Height and width of the picture in pixels.

    Returns:
        InstanceData: The same fields, in pixels of the picture, masks (N, H, W).
    """
    shift = [torch.tensor([t.left, t.top, t.left, t.top], dtype=torch.float32) for t in tiles]
    boxes = torch.cat([f.bboxes.float() + s for f, s in zip(found, shift)])
    scores, labels = (torch.cat([getattr(f, name) for f in found]) for name in ('scores', 'labels'))
    ends = np.cumsum([0, *map(len, found)])
    parts = [slice(start, end) for start, end in zip(ends[:-1], ends[1:])]
    cut = torch.cat([_is_cut(boxes[p], t, size) for p, t in zip(parts, tiles)])
    pairs: list[tuple[int, int]] = []
    for i, one in enumerate(tiles):
        for j, other in enumerate(tiles[:i]):
            found_twice = _matches(boxes, labels, parts[i], parts[j], _common(one, other))
            pairs += [(a + parts[i].start, b + parts[j].start) for a, b in found_twice]
    groups = _joined(len(boxes), pairs)
    members = [sorted(m, key=lambda k: -scores[k].item()) for m in groups]
    chosen = [[k for k in m if not cut[k]][:1] or m for m in members]
    merged = InstanceData(
        bboxes=torch.stack([_union(boxes[c]) for c in chosen]) if chosen else boxes,
        labels=labels[[m[0] for m in members]],
        scores=scores[[m[0] for m in members]],
    )
    if found and 'masks' in found[0]:
        owner = np.repeat(np.arange(len(tiles)), list(map(len, found)))
        merged.masks = torch.zeros((len(members), *size), dtype=torch.bool)
        for mask, indices in zip(merged.masks, chosen):
            for k in indices:
                tile, within = tiles[owner[k]], k - ends[owner[k]]
                part = torch.as_tensor(found[owner[k]].masks[within], dtype=torch.bool)
                mask[tile.top : tile.bottom, tile.left : tile.right] |= part
    return merged


def _is_cut(boxes: Tensor, tile: Tile, size: tuple[int, int]) -> Tensor:
    """Whether boxes (n, 4) end at a border of their tile that is none of the picture."""
    near = TOUCHES * max(tile.right - tile.left, tile.bottom - tile.top)
    height, width = size
    cut = torch.zeros(len(boxes), dtype=torch.bool)
    if tile.left > 0:
        cut |= boxes[:, 0] <= tile.left + near
    if tile.top > 0:
        cut |= boxes[:, 1] <= tile.top + near
    if tile.right < width:
        cut |= boxes[:, 2] >= tile.right - near
    if tile.bottom < height:
        cut |= boxes[:, 3] >= tile.bottom - near
    return cut


def _common(one: Tile, other: Tile) -> Tile:
    """What two tiles both see; empty where right is not more than left, or bottom than top."""
    return Tile(*map(max, one[:2], other[:2]), *map(min, one[2:], other[2:]))


def _matches(
    boxes: Tensor, labels: Tensor, one: slice, other: slice, seen: Tile
) -> list[tuple[int, int]]:
    """Pairs of detections of two tiles that are of one object, by their places in each."""
    if seen.right <= seen.left or seen.bottom <= seen.top:
        return []
    low, high = (torch.tensor(corner * 2, dtype=torch.float32) for corner in (seen[:2], seen[2:]))
    a, b = (boxes[part].clamp(low, high) for part in (one, other))
    if not (len(a) and len(b)):
        return []
    overlap = box_iou(a, b).nan_to_num()  # (n, m); 0 / 0 of boxes outside
    overlap *= labels[one][:, None] == labels[other]
    best_b, best_a = overlap.argmax(1), overlap.argmax(0)
    return [
        (i, j)
        for i, j in enumerate(best_b.tolist())
        if best_a[j] == i and overlap[i, j] >= SAME_OBJECT
    ]


def _union(boxes: Tensor) -> Tensor:
    """The smallest box (4,) around boxes (n, 4)."""
    return torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])


def _joined(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Numbers below ``count`` in groups, in which each is in some pair with another."""
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    groups: dict[int, list[int]] = {}
    for item, label in enumerate(connected_components(graph, directed=False)[1].tolist()):
        groups.setdefault(label, []).append(item)
    return list(groups.values())

"""Features of boxes: extracted by all processes together, and cached on disk."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_gather_object, broadcast_object_list, get_dist_info
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader

from ...datasets import ImageNetBoxes, Unusable
from ...models import FrozenViT
from ...models.layers.positions import gather_tokens
from ...utils.errors import DataError
from ...utils.files import whole_file
from ...utils.progress import progress
from ...utils.token_grid import token_index
from .frozen_task import weights_digest

MAX_BROKEN = 0.01
NUM_EXAMPLES = 5
FILES_TOGETHER = 4096
"""Images whose files one process looks at in one go."""


class BoxFeatures(NamedTuple):
    """The features of a split.

    Attributes:
        features: (L, n, D) float16 of unit length, on the CPU, in the order of the data set. Half
            precision changes a similarity by less than 0.001.
        labels: (L,) int64, -1 for classes without training images.
        counts: Images that were left out, by the names of :class:`Unusable` in lower case.
    """

    features: Tensor
    labels: Tensor
    counts: dict[str, int]


class _Batch(NamedTuple):
    """Images of one batch: what :func:`_collate` makes of samples."""

    images: Tensor  # (b, 3, H, W) uint8, usable ones only
    points: Tensor  # (b, n, 2) x and y in pixels
    labels: Tensor  # (B,) of all
    reasons: Tensor  # (B,) 0 where usable
    messages: list[str]


def load_box_features(
    vit: FrozenViT,
    dataset: ImageNetBoxes,
    num_points: int,
    batch_size: int,
    num_workers: int,
    cache_dir: str | None,
) -> BoxFeatures:
    """The features of a data set, from the cache where weights, data and settings are the same.

    Args:
        vit: The frozen network.
        dataset: Its pipeline ends with :class:`PackBoxPoints`.
        num_points: Points n of an image.
        batch_size: Images of a batch; it changes features in the last digit only.
        num_workers: Data workers of each process.
        cache_dir: Folder of the cache; None for none. The files in it may be deleted at any time.

    Returns:
        BoxFeatures: The same in every process, and for every number of processes.

    Raises:
        DataError: More than 1 % of the files are damaged, or no image is left.
    """
    if cache_dir is None:
        return extract_box_features(vit, dataset, num_points, batch_size, num_workers)
    path = Path(cache_dir, _cache_name(vit, dataset))
    cached = _read_features(path, len(dataset), (num_points, vit.embed_dims), len(dataset.classes))
    if all(all_gather_object(cached is not None)):
        print_log(f'features of {dataset.split} from {path}', logger='current')
        return cached
    found = extract_box_features(vit, dataset, num_points, batch_size, num_workers)
    if get_dist_info()[0] == 0:
        _write_features(path, found)
    return found


@torch.no_grad()
def extract_box_features(
    vit: FrozenViT,
    dataset: ImageNetBoxes,
    num_points: int,
    batch_size: int,
    num_workers: int,
) -> BoxFeatures:
    """As :func:`load_box_features`, without a cache.

    Batches are the same whatever the number of processes, which take turns; each sees all
    features. So results are too, bit for bit where the processes' hardware is the same.
    """
    samples = iter(_batches(dataset, batch_size, num_workers))
    rank, world_size = get_dist_info()
    turns = -(-len(dataset) // (batch_size * world_size))
    features = torch.empty(len(dataset), num_points, vit.embed_dims, dtype=torch.float16)
    labels, examples = [], []
    count, reasons = 0, Counter()
    for _ in progress(range(turns), turns, f'batches of {dataset.split} images'):
        batch = next(samples, None)
        mine = _batch_features(vit, batch, batch_size, num_points)
        examples += [] if batch is None else batch.messages
        for found, label, reason in zip(*map(all_gather, mine)):
            found, label, reason = found.cpu(), label.cpu(), reason.cpu()
            usable = reason == 0
            end = count + int(usable.sum())
            features[count:end] = found[usable]
            count = end
            labels.append(label[usable])
            reasons.update(reason[reason > 0].tolist())
    counts = {reason.name.lower(): reasons[reason] for reason in Unusable}
    _check_left_out(dataset, reasons, count, sum(all_gather_object(examples[:NUM_EXAMPLES]), []))
    return BoxFeatures(features[:count], torch.cat(labels), counts)


def _batches(dataset: ImageNetBoxes, batch_size: int, num_workers: int) -> DataLoader:
    """A loader of this process's share of the batches: every world_size-th one."""
    rank, world_size = get_dist_info()
    starts = range(rank * batch_size, len(dataset), world_size * batch_size)
    batches = [list(range(i, min(i + batch_size, len(dataset)))) for i in starts]
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=_collate,
        num_workers=num_workers,
        generator=torch.Generator(),  # the global one is the training's
    )


def _collate(samples: list[dict]) -> _Batch:
    usable = [sample for sample in samples if not sample['reason']]
    return _Batch(
        torch.stack([s['inputs'] for s in usable]) if usable else torch.empty(0),
        torch.stack([s['points'] for s in usable]) if usable else torch.empty(0),
        torch.tensor([sample.get('label', -1) for sample in samples]),
        torch.tensor([int(sample['reason']) for sample in samples]),
        [sample['message'] for sample in samples if sample['reason']],
    )


def _batch_features(
    vit: FrozenViT, batch: _Batch | None, batch_size: int, num_points: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, n, D), labels (B,) and reasons (B,), filled up to B with reasons of -1.

    All processes exchange tensors of one shape, also one that has no batch left.
    """
    device = next(vit.parameters()).device
    features = torch.zeros(
        batch_size, num_points, vit.embed_dims, dtype=torch.float16, device=device
    )
    labels, reasons = torch.full((2, batch_size), -1, device=device)
    if batch is not None:
        usable = (batch.reasons == 0).nonzero().flatten()
        *rows, images, points, usable = (
            x.to(device, non_blocking=True)
            for x in (batch.labels, batch.reasons, batch.images, batch.points, usable)
        )
        labels[: len(rows[0])], reasons[: len(rows[1])] = rows
        if len(images):
            found = tokens_at(vit, vit.normalize(images), points)
            features[usable] = F.normalize(found, dim=-1).half()
    return features, labels, reasons


def tokens_at(vit: FrozenViT, images: Tensor, points: Tensor) -> Tensor:
    """The tokens whose patches hold given points.

    Args:
        vit: The network.
        images: (B, 3, H, W), normalized.
        points: (B, n, 2), x and y in pixels, within the images.

    Returns:
        Tensor: (B, n, D), after the final LayerNorm.
    """
    tokens = vit.forward_tokens([images])[0]  # (B, N, D)
    columns, rows = (points / vit.patch_size).long().unbind(dim=-1)
    return gather_tokens(tokens, token_index(rows, columns, vit.grid_of(images)))


def _check_left_out(
    dataset: ImageNetBoxes, reasons: Mapping[int, int], count: int, examples: list[str]
) -> None:
    """Stop when too many files are damaged, or nothing is left; else log what was left out."""
    broken = sum(reasons[reason] for reason in Unusable if reason.broken)
    total = len(dataset)
    shown = '; '.join(examples[:NUM_EXAMPLES])
    if broken > MAX_BROKEN * total:
        raise DataError(
            f'{broken} of {total} {dataset.split} images or their annotations cannot be read, more '
            f'than the tolerated {MAX_BROKEN:.0%}; repair or remove them. Examples: {shown}'
        )
    if not count:
        raise DataError(f'no {dataset.split} image is left of {total}. Examples: {shown}')
    if count < total:
        print_log(
            f'{total - count} of {total} {dataset.split} images left out, such as {shown}',
            logger='current',
        )


def _cache_name(vit: FrozenViT, dataset: ImageNetBoxes) -> str:
    """A name for the features of these weights, data and settings, the same in every process.

    The processes divide the files to look at among them; the name does not depend on how many
    there are.
    """
    rank, world_size = get_dist_info()
    blocks = range(0, len(dataset), FILES_TOGETHER)
    mine = {i: dataset.fingerprint(i, i + FILES_TOGETHER) for i in blocks[rank::world_size]}
    prints = {i: text for part in all_gather_object(mine) for i, text in part.items()}
    digest = hashlib.sha256(b'2')  # raise it when the meaning of features changes
    digest.update(weights_digest(vit).encode())
    for i in blocks:
        digest.update(prints[i].encode())
    # One process says which it is: weights of others may differ in their last bits.
    names = [f'{dataset.split}-{digest.hexdigest()[:32]}.safetensors']
    broadcast_object_list(names)
    return names[0]


def _read_features(
    path: Path, total: int, shape: tuple[int, int], classes: int
) -> BoxFeatures | None:
    """What is cached; None if nothing is, or it is damaged. The file is mapped, not read.

    Args:
        path: Of the cache.
        total: Images of the data set.
        shape: (n, D) of an image.
        classes: Their number.
    """
    try:
        with safe_open(path, framework='pt') as file:
            counts = json.loads(file.metadata()['counts'])
            found = BoxFeatures(file.get_tensor('features'), file.get_tensor('labels'), counts)
        left_out = sum(counts.values())
        names = {reason.name.lower() for reason in Unusable}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        return None
    features, labels, _ = found
    sound = (
        names.issuperset(counts)
        and all(isinstance(count, int) and count >= 0 for count in counts.values())
        and features.shape == (total - left_out, *shape)
        and features.dtype == torch.float16
        and labels.shape == features.shape[:1]
        and labels.dtype == torch.int64
        and bool(((labels >= -1) & (labels < classes)).all())
    )
    return found if sound else None


def _write_features(path: Path, found: BoxFeatures) -> None:
    """Cache features; a folder that cannot be written is no error."""
    try:
        tensors = dict(features=found.features.contiguous(), labels=found.labels)
        with whole_file(path) as draft:
            save_file(tensors, draft, metadata=dict(counts=json.dumps(found.counts)))
    except OSError as error:
        print_log(f'{path}: features not cached ({error})', logger='current')

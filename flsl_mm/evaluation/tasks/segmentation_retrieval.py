"""Segmentation by nearest tokens of labelled images."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models import FrozenViT
from ...registry import FROZEN_TASKS
from ...utils.errors import DataError
from ..functional.neighbors import knn_votes
from ..functional.segmentation_scores import confusion_matrix, segmentation_scores
from .dense_images import DenseImage, encode_images
from .dense_task import DenseTask
from .frozen_task import gather_by_index, sum_processes


@FROZEN_TASKS.register_module()
class SegmentationRetrieval(DenseTask):
    """Dense nearest-neighbor retrieval: pixels are labelled by the most similar training tokens.

    Labelled tokens of the training images, equally many of each drawn at random, form a bank; a
    token's label is that of the pixel at its center. Each token of an image to evaluate gets the
    votes of its nearest neighbors in the bank, weighted ``exp(cosine / temperature)``; the votes
    are enlarged bilinearly to the image as stored, and the class with most wins. mIoU is over the
    pixels of all images, as mmseg counts. The same mathematics as :class:`KNNSegHead`.

    Without training images those to evaluate with even and with odd index are labelled from each
    other.

    Args:
        bank_size: About how many tokens the bank has; all where the images have fewer.
        num_neighbors: Neighbors k that vote.
        temperature: Temperature of the votes.
        seed: Of the drawing.
        args, kwargs: See :class:`DenseTask`.

    Raises:
        DataError: There is one image only, and no training images.
    """

    name = 'retrieval'
    headline = 'mIoU'

    def __init__(
        self,
        *args,
        bank_size: int = 400_000,
        num_neighbors: int = 20,
        temperature: float = 0.07,
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.train is None and len(self.val) < 2:
            raise DataError('retrieval needs training images, or at least two images to evaluate')
        if self.train is not None and self.train.num_classes != self.val.num_classes:
            raise DataError(
                f'the training images have {self.train.num_classes} classes, those to evaluate '
                f'{self.val.num_classes}'
            )
        source = self.val if self.train is None else self.train
        self._tokens_per_image = max(1, bank_size // len(source))
        self.num_neighbors = num_neighbors
        self.temperature = temperature
        self.seed = seed

    def start(self, vit: FrozenViT) -> None:
        """Fill the bank, or one bank for each half."""
        source = self.val if self.train is None else self.train
        halves: list[tuple[dict[int, Tensor], dict[int, Tensor]]] = [({}, {}), ({}, {})]
        for image in encode_images(vit, source, self.short_side, self.num_workers, 'bank'):
            tokens, labels = halves[0 if self.train is not None else image.index % 2]
            tokens[image.index], labels[image.index] = self._draw(image)
        halves = halves[: 2 if self.train is None else 1]
        device = next(vit.parameters()).device
        self._banks = [tuple(gather_by_index(part).to(device) for part in half) for half in halves]
        if not all(len(labels) for _, labels in self._banks):
            raise DataError('retrieval: no pixel of the masks to retrieve from is labelled')
        classes = self.val.num_classes
        self._confusion = torch.zeros(classes, classes, dtype=torch.long, device=device)
        self._in_reach = torch.zeros(classes, dtype=torch.long, device=device)
        self._in_bank = [torch.bincount(labels, minlength=classes) > 0 for _, labels in self._banks]

    def _draw(self, image: DenseImage) -> tuple[Tensor, Tensor]:
        """Some labelled tokens (n, D) of an image, of unit length in half precision, and labels."""
        labels = image.token_labels()
        places = (labels >= 0).nonzero().flatten()
        generator = torch.Generator().manual_seed(self.seed * 2**32 + image.index)
        chosen = places[torch.randperm(len(places), generator=generator)[: self._tokens_per_image]]
        tokens = F.normalize(image.tokens[chosen.to(image.tokens.device)], dim=1)
        return tokens.half().cpu(), labels[chosen].long()

    def update(self, image: DenseImage) -> None:
        """Label the pixels of an image and count them."""
        number = (1 - image.index % 2) if self.train is None else 0
        bank, bank_labels = self._banks[number]
        votes = knn_votes(
            F.normalize(image.tokens, dim=1),
            bank,
            bank_labels,
            self.num_neighbors,
            self.temperature,
            self.val.num_classes,
        )
        labels = image.labels.to(votes.device)
        predictions = _enlarge_and_choose(votes, image.grid, labels.shape)
        shape = self._confusion.shape
        confusion = confusion_matrix(predictions.flatten(), labels.flatten(), shape)
        self._confusion += confusion
        self._in_reach += (confusion.sum(0) > 0) & self._in_bank[number]

    def finish(self) -> dict[str, Any]:
        """``mIoU`` and ``aAcc`` in percent; in the details how many classes had no bank token."""
        confusion = sum_processes(self._confusion)
        if not confusion.sum():
            raise DataError('retrieval: no pixel of the masks to evaluate is labelled')
        unseen = (confusion.sum(0) > 0) & (sum_processes(self._in_reach) == 0)
        scores = segmentation_scores(confusion)
        details = dict(mAcc=scores.pop('mAcc'), unseen_classes=int(unseen.sum()))
        return dict(scores, details=details)


def _enlarge_and_choose(votes: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The class (H, W) of most votes (N, C) after enlarging them, class by class to save memory."""
    best = votes.new_full(tuple(size), -1)
    chosen = torch.zeros(tuple(size), dtype=torch.long, device=votes.device)
    for label in votes.sum(0).nonzero().flatten().tolist():
        plane = votes[:, label].view(1, 1, *grid)
        plane = F.interpolate(plane, tuple(size), mode='bilinear', align_corners=False)[0, 0]
        better = plane > best
        best, chosen = plane.where(better, best), chosen.masked_fill(better, label)
    return chosen

"""Scores of a segmentation from counts of pixels."""

import torch
from torch import Tensor

from ...utils.errors import DataError


def confusion_matrix(
    predictions: Tensor,
    labels: Tensor,
    shape: tuple[int, int],
    weights: Tensor | None = None,
) -> Tensor:
    """Count how often each prediction meets each label.

    Args:
        predictions: Integers (N,) in [0, P).
        labels: Integers (N,); those below 0 are ignored, others in [0, C).
        shape: (P, C).
        weights: Counts (N,) of each pair, integers; by default 1.

    Returns:
        Tensor: Counts (P, C), int64.
    """
    # Those ignored count nothing; to leave them out, a GPU would be asked how many they are.
    kept = (labels >= 0).long()
    places = predictions.long() * shape[1] + labels.long().clamp_min(0)
    weights = kept if weights is None else weights.long() * kept
    # Integers add up to the same whatever their order, on any device.
    counts = torch.zeros(shape[0] * shape[1], dtype=torch.long, device=places.device)
    return counts.index_add_(0, places, weights).view(shape)


def segmentation_scores(confusion: Tensor) -> dict[str, float]:
    """Mean IoU and accuracies, as mmseg's ``IoUMetric`` reports them.

    Args:
        confusion: Counts (C, C) of pixels by prediction and label.

    Returns:
        dict[str, float]: In percent: ``mIoU``, over the classes that are labelled or predicted;
        ``mAcc``, mean accuracy over the labelled classes; ``aAcc``, accuracy over all pixels.

    Raises:
        DataError: There is no pixel.
    """
    confusion = confusion.double()
    if not confusion.sum():
        raise DataError('segmentation_scores: no labelled pixel')
    correct, predicted, labelled = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    union = predicted + labelled - correct
    return dict(
        mIoU=100 * float((correct / union)[union > 0].mean()),
        mAcc=100 * float((correct / labelled)[labelled > 0].mean()),
        aAcc=100 * float(correct.sum() / confusion.sum()),
    )

"""Labels of one video frame from others, in one call."""

import numpy as np
import torch
from torch import Tensor

from .label_propagator import LabelPropagator


@torch.no_grad()
def propagate_labels(
    target_features: Tensor | np.ndarray,
    source_features: Tensor | np.ndarray,
    source_labels: Tensor | np.ndarray,
    radius: int | None,
    topk: int,
    temperature: float = 0.1,
) -> Tensor:
    """Label propagation of DINO's and FLSL's DAVIS protocol, see :class:`LabelPropagator`.

    Along a video that class is the faster way: it prepares each frame once. Takes tensors or numpy
    arrays.

    Args:
        target_features: (h*w, D) of the frame to label.
        source_features: (T, h*w, D) of labelled frames.
        source_labels: (T, C, h, w).
        radius: Window, in tokens; None compares all tokens.
        topk: Number of source tokens that vote, at least 1.
        temperature: Above 0.

    Returns:
        Tensor: (C, h, w).

    Raises:
        ValueError: Shapes do not fit each other, or a number is out of range.
    """
    target_features, source_features, source_labels = map(
        torch.as_tensor, (target_features, source_features, source_labels)
    )
    common = torch.promote_types(target_features.dtype, source_features.dtype)
    target_features, source_features = target_features.to(common), source_features.to(common)
    if source_labels.dim() != 4 or not len(source_labels):
        raise ValueError(
            f'source_labels are (T, C, h, w) with T at least 1, got {tuple(source_labels.shape)}'
        )
    if len(source_features) != len(source_labels):
        raise ValueError(f'{len(source_features)} source_features, {len(source_labels)} labels')
    propagator = LabelPropagator(
        tuple(source_labels.shape[-2:]), radius, topk, temperature, len(source_labels)
    )
    for features, labels in zip(source_features, source_labels):
        propagator.remember(features, labels)
    return propagator.propagate(target_features)

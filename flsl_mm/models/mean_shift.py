"""Mean-shift on token features, as attention without projections (paper, Eq. 1-6 and 12)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_shift(query: Tensor, keys: Tensor, scale: float) -> Tensor:
    """One mean-shift update of every query towards a mode of the keys.

    ``softmax(scale * query keys^T) keys``: with the keys of the query's own view this is the
    cluster representative SA (Eq. 4), with those of another view the positive CA (Eq. 12).

    Args:
        query: (B, Q, D).
        keys: (B, N, D), the points whose density is climbed.
        scale: Factor of the logits; larger means smaller clusters.

    Returns:
        Tensor: Modes (B, Q, D).
    """
    query, keys = query.unsqueeze(1), keys.unsqueeze(1)  # one head, for the fused kernels
    return F.scaled_dot_product_attention(query, keys, keys, scale=scale).squeeze(1)


def mean_shift_weights(query: Tensor, keys: Tensor, scale: float) -> Tensor:
    """The soft cluster mask of every query: the weights that :func:`mean_shift` averages with.

    Args:
        query: (B, Q, D).
        keys: (B, N, D).
        scale: Factor of the logits.

    Returns:
        Tensor: (B, Q, N), rows summing to 1.
    """
    return torch.softmax(scale * (query @ keys.transpose(-2, -1)), dim=-1)


def effective_number(weights: Tensor) -> Tensor:
    """Effective number of tokens in a soft mask: exp(entropy), (..., N) to (...), from 1 to N."""
    return torch.special.entr(weights.float()).sum(dim=-1).exp()


def sharpen(weights: Tensor, sharpness: float) -> Tensor:
    """Soft mask of what is above average in each row, for the multi-stage option.

    ``sigmoid(sharpness * (A - row mean))``, each row divided by its sum.

    Args:
        weights: Attention A of shape (B, Q, N).
        sharpness: Steepness; attention values are of order 1 / N.

    Returns:
        Tensor: (B, Q, N), rows summing to 1.
    """
    mask = torch.sigmoid(sharpness * (weights - weights.mean(dim=-1, keepdim=True)))
    return mask / mask.sum(dim=-1, keepdim=True)

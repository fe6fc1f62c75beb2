"""Mean-shift on token features, as attention without projections (paper, Eq. 1-6 and 12)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.errors import ConfigError, TrainingStopped

_LOG_SCALES = -14.0, 14.0  # between 1e-6 and 1e6
_BISECTIONS = 28
_ALIKE = 1e-2  # of a token's length: what is nearer to the mean of its view is rounding


def mean_shift(query: Tensor, keys: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """One mean-shift update of every query towards a mode of the keys.

    ``softmax(scale * query keys^T) keys``: with the keys of the query's own view this is the
    cluster representative SA (Eq. 4), with those of another view the positive CA (Eq. 12).

    Args:
        query: (B, Q, D).
        keys: (B, N, D), the points whose density is climbed.
        scale: Factor of the logits; larger means smaller clusters.
        bias: Added to the logits (B, Q, N), or None.

    Returns:
        Tensor: Modes (B, Q, D).
    """
    query, keys = query.unsqueeze(1), keys.unsqueeze(1)  # one head, for the fused kernels
    mask = None if bias is None else bias.to(query.dtype).unsqueeze(1)
    return F.scaled_dot_product_attention(query, keys, keys, attn_mask=mask, scale=scale).squeeze(1)


def mean_shift_weights(
    query: Tensor, keys: Tensor, scale: float, bias: Tensor | None = None
) -> Tensor:
    """The soft cluster mask of every query: the weights that :func:`mean_shift` averages with.

    Args:
        query: (B, Q, D).
        keys: (B, N, D).
        scale: Factor of the logits.
        bias: Added to the logits (B, Q, N), or None.

    Returns:
        Tensor: (B, Q, N), rows summing to 1.
    """
    logits = scale * (query @ keys.transpose(-2, -1))
    return torch.softmax(logits if bias is None else logits + bias, dim=-1)


def effective_number(weights: Tensor) -> Tensor:
    """Effective number of tokens in a soft mask: exp(entropy), (..., N) to (...), from 1 to N."""
    return torch.special.entr(weights.float()).sum(dim=-1).exp()


@torch.no_grad()
def spread_tokens(tokens: Tensor) -> Tensor:
    """Tokens as they would be without what all tokens of a view have in common.

    Tokens of random weights share half of their length with the mean of their view. Training takes
    that away, and the scale of the logits that fits after it is another one.

    Args:
        tokens: (B, N, D).

    Returns:
        Tensor: float32 or finer: what is left of each token less the mean of its view, as long as
        the token was; 0 where nothing is left.
    """
    tokens = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    length = tokens.norm(dim=-1, keepdim=True)
    rest = tokens - tokens.mean(dim=1, keepdim=True)
    left = rest.norm(dim=-1, keepdim=True)
    return torch.where(left > _ALIKE * length, rest * (length / left.clamp_min(1e-12)), 0.0)


@torch.no_grad()
def solve_scale(products: Sequence[Tensor], wanted: float) -> float:
    """The scale at which a soft mask has a wanted effective number of tokens, on the mean.

    By bisection: the entropy of ``softmax(scale * products)`` falls as the scale grows.

    Args:
        products: ``query keys^T`` (B, Q, N) of views of several sizes; each query weighs the same.
        wanted: Effective number, above 1.

    Returns:
        float: The scale, to about 1e-7 of it.

    Raises:
        ConfigError: More tokens are wanted than there are.
        TrainingStopped: At no scale are so few attended to: the tokens of a view are alike.
    """
    products = [x.float() for x in products]

    def attended(log_scale: float) -> float:
        scale = math.exp(log_scale)
        found = [effective_number(torch.softmax(scale * x, dim=-1)).flatten() for x in products]
        return float(torch.cat(found).mean())

    low, high = _LOG_SCALES
    if attended(low) <= wanted:
        raise ConfigError(
            f'attended_tokens={wanted:g} is not below the {attended(low):.4g} tokens that a view '
            'has on the mean: make it smaller'
        )
    if attended(high) >= wanted:
        raise TrainingStopped(
            f'no scale has {wanted:g} attended tokens: the tokens of a view are alike (blank '
            'images, or a collapsed network)'
        )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if attended(middle) > wanted else (low, middle)
    return math.exp((low + high) / 2)


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

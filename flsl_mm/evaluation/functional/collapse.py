"""Signs of collapsed features that need no labels."""

import math

import torch
from torch import Tensor

from ...utils.errors import DataError
from .similarity import aggregated_similarity


def rankme_of_gram(gram: Tensor) -> float:
    """RankMe: the effective rank of features (M, D) (Garrido et al., ICML 2023).

    ``exp(-sum p log p)`` with p the singular values divided by their sum. Features are taken as
    they are, neither centered nor normalized.

    Args:
        gram: ``features^T features`` (D, D), float64. It adds up over batches, so it serves any
            number of features.

    Returns:
        float: In [1, min(M, D)]: r for features with r equal singular values, 1 where all features
        are multiples of one.

    Raises:
        DataError: All features are zero.
    """
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    # An eigenvalue is only known to rounding of the largest; its root would be 1e-8 of it.
    values[values < values.amax() * len(gram) * torch.finfo(values.dtype).eps] = 0
    singular = values.sqrt()
    if not singular.sum():
        raise DataError('rankme: all features are zero')
    p = singular[singular > 0] / singular.sum()
    return math.exp(-float((p * p.log()).sum()))


def similarity_contrast(tokens: Tensor) -> Tensor:
    """Contrast of the aggregated similarity score of each image.

    Mean of the highest tenth of its tokens' scores less the mean of the lowest tenth (at least one
    token each). 0 where all tokens are alike; the larger, the more parts of the image differ.

    Args:
        tokens: (B, N, D).

    Returns:
        Tensor: (B,), not negative.
    """
    scores = aggregated_similarity(tokens).sort(dim=1).values
    tenth = max(1, round(0.1 * scores.shape[1]))
    return scores[:, -tenth:].mean(dim=1) - scores[:, :tenth].mean(dim=1)


def prototype_use(choices: Tensor) -> dict[str, float]:
    """How evenly tokens spread over the prototypes.

    Args:
        choices: Number (K,) of tokens that have each prototype as their first choice.

    Returns:
        dict[str, float]: ``prototypes_used``, how many are some token's first choice, and
        ``prototype_entropy``, the entropy of the first choices in nats, from 0 (all tokens choose
        the same) to log K.

    Raises:
        DataError: There are no tokens.
    """
    total = int(choices.sum())
    if not total:
        raise DataError('prototype_use: no tokens')
    p = choices[choices > 0].double() / total
    return dict(
        prototypes_used=int((choices > 0).sum()),
        prototype_entropy=abs(float((p * p.log()).sum())),
    )

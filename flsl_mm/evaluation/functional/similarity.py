"""How much each token has in common with all tokens of its image."""

import torch.nn.functional as F
from torch import Tensor


def aggregated_similarity(tokens: Tensor) -> Tensor:
    """Aggregated similarity score (ASS): the sum of all tokens' cosine maps, by its maximum.

    Paper, the figures of ASS by layer. The sum of the cosines of one token with all tokens is its
    cosine with their sum, so no N x N matrix is made.

    Args:
        tokens: Token features (B, N, D), not normalized. Tokens of zero length score 0.

    Returns:
        Tensor: Scores (B, N), at least float32, of maximum 1 in every image; low, perhaps negative,
        where a token resembles few others. All 0 where the unit tokens of an image cancel out.

    Examples:
        >>> aggregated_similarity(torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]]))
        tensor([[1.0000, 1.0000, 0.5000]])
    """
    if tokens.dtype.itemsize < 4:
        tokens = tokens.float()
    unit = F.normalize(tokens, dim=-1)
    total = (unit * unit.sum(dim=1, keepdim=True)).sum(dim=-1)  # (B, N)
    # The mean of the scores is the squared length of the sum, so the maximum is never negative.
    highest = total.amax(dim=1, keepdim=True)
    return total / highest.clamp_min(1e-12)

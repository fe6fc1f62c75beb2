"""The region of the image that a query's mode is made of."""

from torch import Tensor

from flsl_mm.models.mean_shift import mean_shift_weights

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

"""Whether tokens are codes of their place in the grid, and whether queries find theirs."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers.positions import token_centers

PLACES = 14  # of each side of an image, where images of several shapes are compared
_ROUNDING = 1e-6  # of a variance of vectors of length 1 in float32


def place_moments(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What :func:`place_share` needs; adds up over batches and processes.

    Args:
        tokens: Of B images on one grid (B, N, D).

    Returns:
        tuple: Sums over the images, float64: the normalized token of each place (N, D); and (2,),
        the number of images and the squared length of the mean of each image's normalized tokens.
    """
    tokens = F.normalize(tokens.to(torch.promote_types(tokens.dtype, torch.float32)), dim=-1)
    squares = tokens.mean(dim=1).square().sum(dtype=torch.float64)
    count = torch.full_like(squares, len(tokens))
    return tokens.sum(dim=0, dtype=torch.float64), torch.stack([count, squares])


def at_places(tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """The tokens of an image at ``side`` x ``side`` places of it, whatever its own grid is.

    Args:
        tokens: (N, D), row-major over ``grid``.
        grid: Rows and columns.
        side: Places of each side of the image.

    Returns:
        Tensor: The nearest token of each (side * side, D), row-major.
    """
    steps = torch.arange(side, device=tokens.device) + 0.5
    rows, columns = (steps * n / side for n in grid)
    return tokens.unflatten(0, grid)[rows.long()[:, None], columns.long()].flatten(0, 1)


def place_share(places: Tensor, sums: Tensor) -> Tensor:
    """Share of the variance of normalized tokens that the place in the grid alone explains.

    The variance of the per-place means over the total variance, less what means of so few images
    differ by chance (as in an analysis of variance by place and image, whose rest says how much).

    Args:
        places: (N, D), see :func:`place_moments`.
        sums: (2,).

    Returns:
        Tensor: Scalar in [0, 1]: 0 where places do not differ, 1 where tokens are codes of their
        place. A single image does not tell: 1 unless all its tokens are alike.
    """
    count, squares = sums
    places = places / count
    center = places.mean(dim=0).square().sum()
    by_place = places.square().sum(dim=1).mean() - center
    by_image = squares / count - center
    total = 1 - center
    rest = (total - by_place - by_image).clamp_min(0)
    by_chance = rest / (count - 1).clamp_min(1)
    return ((by_place - by_chance) / total.clamp_min(_ROUNDING)).clamp(0, 1)


@torch.no_grad()
def mean_place_share(views: list[Tensor]) -> Tensor:
    """:func:`place_share` of each view's tokens (B, N, D), averaged over the views."""
    return torch.stack([place_share(*place_moments(tokens)) for tokens in views]).mean()


def squared_distances(points: Tensor, grid: tuple[int, int]) -> Tensor:
    """From points to the tokens of a view: (B, Q, 2), fractions of it, to (B, Q, N), in tokens."""
    offsets = points.unsqueeze(2) - token_centers(grid, points.device).to(points.dtype)
    x, y = offsets.unbind(-1)
    return (x * grid[1]).square() + (y * grid[0]).square()


def place_bias(points: Tensor, grid: tuple[int, int], width: float) -> Tensor:
    """Log of a Gaussian prior of place over the tokens of a view, up to a constant.

    Args:
        points: Expected places (B, Q, 2) as x, y in fractions of the view.
        grid: Its rows and columns.
        width: Standard deviation in tokens, above 0.

    Returns:
        Tensor: (B, Q, N), to be added to logits.
    """
    return squared_distances(points, grid) / (-2 * width**2)


def finds_its_place(queries: Tensor, keys: Tensor, grid: tuple[int, int], points: Tensor) -> Tensor:
    """Whether the most similar token lies within one token of where it should.

    Args:
        queries: (B, Q, D).
        keys: Tokens of the other view (B, N, D); the similarity is the cosine.
        grid: Rows and columns of the keys.
        points: Places of the queries in the other view (B, Q, 2), x, y in fractions of it.

    Returns:
        Tensor: 1 or 0, float32 (B, Q).
    """
    nearest = (queries @ F.normalize(keys, dim=-1).transpose(-2, -1)).argmax(dim=-1, keepdim=True)
    distance = squared_distances(points, grid).gather(-1, nearest).squeeze(-1)
    return (distance <= 1 + 1e-4).float()  # neighbors are 1 apart, up to rounding

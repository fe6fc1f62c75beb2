"""Query points: where they are, which token they fall on, and which are worth a look."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.errors import DataError
from ..utils.token_grid import grid_of_size, token_center, token_index

# x, y in fractions of the image: (0, 0) is the upper left corner.
Point = tuple[float, float]


def parse_point(text: str, size: tuple[int, int]) -> Point:
    """Read a point as a user writes it.

    Args:
        text: ``X,Y``: two whole numbers are pixels, as in ``120,80``; else both are fractions of
            width and height, as in ``0.5,0.25``.
        size: Height and width of the image in pixels.

    Returns:
        Point: In fractions; that of a pixel is its center.

    Raises:
        DataError: The text is no point, or the point is outside the image.
    """
    parts = [part.strip() for part in text.split(',')]
    try:
        x, y = map(float, parts)
    except ValueError:
        raise DataError(
            f'{text!r} is no query point: write x,y in pixels (120,80) or in fractions (0.5,0.25)'
        ) from None
    height, width = size
    if all(part.lstrip('+-').isdigit() for part in parts):
        x, y = (x + 0.5) / width, (y + 0.5) / height
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise DataError(f'query point {text} is outside the image of {width} x {height} pixels')
    return x, y


def token_at(point: Point, size: tuple[int, int], patch_size: int) -> int:
    """Index of the token whose patch a point falls on.

    Args:
        point: x, y in fractions of the image.
        size: Height and width of the image in pixels.
        patch_size: Side of a patch in pixels.

    Returns:
        int: Row-major index in the grid that covers the image padded to whole patches.
    """
    height, width = size
    column = min(int(point[0] * width), width - 1) // patch_size
    row = min(int(point[1] * height), height - 1) // patch_size
    return token_index(row, column, grid_of_size(height, width, patch_size))


def choose_points(
    tokens: Tensor, grid: tuple[int, int], size: tuple[int, int], patch_size: int, number: int
) -> list[Point]:
    """Choose query points on different things in an image.

    The first point is on the largest region: the token that is most similar to all tokens. Each
    further one is where the similarity to the points before is least. Tokens are averaged over
    their 3 x 3 neighbors first, and the border is left out, so that points lie inside of things.

    Args:
        tokens: (N, D), row-major over ``grid``.
        grid: Rows and columns of tokens.
        size: Height and width of the image in pixels.
        patch_size: Side of a patch in pixels.
        number: How many points.

    Returns:
        list[Point]: The centers of patches, in fractions of the image; fewer than ``number`` when
        the image has fewer tokens.
    """
    height, width = size
    maps = tokens.float().unflatten(0, grid).movedim(-1, 0).unsqueeze(0)  # (1, D, rows, columns)
    smooth = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    features = F.normalize(smooth.flatten(2)[0].T, dim=-1)  # (N, D)
    # Only whole patches within the image: the others are partly padding.
    inside = torch.zeros(grid, dtype=torch.bool, device=tokens.device)
    rows, columns = max(1, height // patch_size), max(1, width // patch_size)
    margin = [1 if n > 2 else 0 for n in (rows, columns)]
    inside[margin[0] : rows - margin[0], margin[1] : columns - margin[1]] = True
    inside = inside.flatten()
    chosen = [int((features @ features.sum(0)).masked_fill(~inside, -torch.inf).argmax())]
    while len(chosen) < min(number, int(inside.sum())):
        nearest = (features @ features[chosen].T).amax(dim=1)
        nearest[chosen] = torch.inf
        chosen.append(int(nearest.masked_fill(~inside, torch.inf).argmin()))
    covered = [n * patch_size for n in grid]
    centers = [token_center(index, grid, covered) for index in chosen[:number]]
    return [(min(x / width, 1.0), min(y / height, 1.0)) for x, y in centers]

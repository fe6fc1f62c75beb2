"""How far whole images are resized, whatever their shape."""

from collections.abc import Sequence

LONGEST = 4  # of the short side, so that a panorama does not exhaust the memory


def short_side_scale(size: Sequence[int], short_side: int) -> float:
    """The factor that resizes an image to a short side in pixels.

    Smaller where the long side would be more than four times ``short_side``, which it is then.

    Args:
        size: Both sides of the image in pixels, in any order.
        short_side: Of the resized image, in pixels.
    """
    short, long = sorted(size)
    return min(short_side / short, LONGEST * short_side / long)

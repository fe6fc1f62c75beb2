"""Colors of classes that have none of their own."""

import colorsys


def distinct_colors(number: int) -> list[tuple[int, int, int]]:
    """Bright colors, RGB in 0-255, of hues as far apart as can be."""
    hues = (i / number for i in range(number))
    return [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(h, 0.82, 0.92)) for h in hues]

"""Names that fit beside and above pictures."""

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path


def text_width(text: str, size: float) -> float:
    """Width in inches of a line of text without formulas, at a font size in points."""
    font = FontProperties(size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def fit(name: str, width: float, size: float) -> str:
    """A name that is at most as wide as told: a longer one loses its middle.

    Args:
        name: One line.
        width: In inches; three letters always stay.
        size: Of the font, in points.
    """
    letters = len(name)
    while letters > 3 and text_width(shorten(name, letters), size) > width:
        letters -= 1
    return shorten(name, letters)


def shorten(name: str, letters: int) -> str:
    """A name of at most ``letters``: a longer one loses its middle."""
    head, tail = max(letters - 1, 2) // 2, max(letters, 3) // 2
    return name if len(name) <= letters else f'{name[:head]}…{name[-tail:]}'

"""What there is in the scenes: kinds of objects and of ground."""

from typing import NamedTuple

import numpy as np


class ObjectKind(NamedTuple):
    """A class of objects.

    Attributes:
        name: Of the class.
        shape: A key of :data:`SHAPES`.
        pattern: A key of :data:`~flsl_mm.datasets.scenes.texture.PATTERNS`.
        hues: One of these, keys of :data:`HUES`, is its color.
    """

    name: str
    shape: str
    pattern: str
    hues: tuple[str, ...]


class GroundKind(NamedTuple):
    """A class of ground ("stuff").

    Attributes:
        name: Of the class.
        pattern: A key of :data:`~flsl_mm.datasets.scenes.texture.PATTERNS`.
        hues: One of these, keys of :data:`HUES`, is its color.
    """

    name: str
    pattern: str
    hues: tuple[str, ...]


# Every hue has at least two kinds, and every kind two hues: color tells something about a class,
# as in photographs, but not the class.
HUES = dict(
    red=0.0, orange=0.07, yellow=0.15, green=0.33, cyan=0.5, blue=0.62, purple=0.77, pink=0.9
)
OBJECTS = (
    ObjectKind('ball', 'disc', 'dots', ('red', 'blue')),
    ObjectKind('crate', 'box', 'stripes', ('orange', 'green')),
    ObjectKind('tent', 'triangle', 'checks', ('red', 'yellow')),
    ObjectKind('tyre', 'ring', 'plain', ('blue', 'purple')),
    ObjectKind('starfish', 'star', 'zigzag', ('orange', 'pink')),
    ObjectKind('chimney', 'cross', 'bricks', ('red', 'pink')),
)
GROUNDS = (
    GroundKind('grass', 'fur', ('green', 'yellow')),
    GroundKind('sand', 'speckle', ('yellow', 'orange')),
    GroundKind('water', 'waves', ('cyan', 'blue')),
    GroundKind('tiles', 'grid', ('cyan', 'purple')),
)
# Semantic classes 1..10, objects first; 0 is unlabelled.
CLASSES = tuple(kind.name for kind in (*OBJECTS, *GROUNDS))


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    distance = u * u + v * v
    return (distance < 1) & (distance > 0.2)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Five rounded arms."""
    return np.hypot(u, v) < 0.65 + 0.35 * np.cos(5 * np.arctan2(u, -v))


# Whether points belong to an object, in its own coordinates: 1 is its radius, v points down.
SHAPES = {
    'disc': lambda u, v: u * u + v * v < 1,
    'box': lambda u, v: np.maximum(abs(u), abs(v)) < 0.85,
    'triangle': lambda u, v: (v < 0.8) & (v > 2 * abs(u) - 1),
    'ring': _ring,
    'star': _star,
    'block': lambda u, v: np.maximum(abs(u), abs(v)) < 1,
    'cross': lambda u, v: (np.minimum(abs(u), abs(v)) < 0.35) & (np.maximum(abs(u), abs(v)) < 0.95),
}

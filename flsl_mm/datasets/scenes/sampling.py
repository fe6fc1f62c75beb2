"""Random scenes."""

from collections.abc import Sequence

import numpy as np

from .kinds import GROUNDS, OBJECTS
from .scene import Scene, SceneObject
from .texture import Ground, sample_texture

BRIGHTNESS = (0.5, 1.2)  # range of the strength of the light
FLICKER = 0.3  # how much the exposure of a video changes from frame to frame


def sample_scene(
    rng: np.random.Generator,
    size: tuple[int, int] = (96, 96),
    kinds: Sequence[int] | None = None,
    radius: tuple[float, float] = (0.13, 0.28),
    num_frames: int = 1,
) -> Scene:
    """A scene of one to four objects on one or two kinds of ground.

    The class of an object is its shape and the pattern on it, that of ground its pattern. Hues are
    shared between classes (:data:`HUES`); shades, scale and direction of patterns, size, place and
    light are random. So a pixel alone does not give the class away.

    Args:
        rng: Source of everything random.
        size: Width and height in pixels.
        kinds: Indices into :data:`OBJECTS`, one for each object, lowest first; default random.
        radius: Range of the objects' radii in image heights.
        num_frames: More than one: the objects move, turn, and stay in sight for that long, while
            the camera moves and the exposure changes.
    """
    if kinds is None:
        kinds = rng.integers(len(OBJECTS), size=rng.integers(1, 5))
    moves = num_frames > 1
    return Scene(
        size=tuple(size),
        grounds=_sample_grounds(rng),
        objects=tuple(
            _sample_object(rng, int(kind), size[0] / size[1], rng.uniform(*radius), num_frames)
            for kind in kinds
        ),
        seed=int(rng.integers(2**31)),
        drift=rng.uniform(-0.02, 0.02) if moves else 0.0,
        flicker=FLICKER if moves else 0.0,
        shading=rng.uniform(0.15, 0.3),
        light=tuple(rng.uniform(*BRIGHTNESS) * rng.uniform(0.9, 1.1, 3)),
    )


def _sample_grounds(rng: np.random.Generator) -> tuple[Ground, ...]:
    grounds = []
    for kind in rng.permutation(len(GROUNDS))[: rng.integers(1, 3)]:
        border = {}
        if grounds:
            border = dict(
                direction=rng.uniform(0, 2 * np.pi),
                distance=rng.uniform(-0.2, 0.2),
                wave=rng.uniform(0, 0.06),
            )
        texture = sample_texture(rng, GROUNDS[kind].pattern, GROUNDS[kind].hues)
        grounds.append(Ground(1 + len(OBJECTS) + int(kind), texture, **border))
    return tuple(grounds)


def _sample_object(
    rng: np.random.Generator, kind: int, aspect: float, radius: float, num_frames: int
) -> SceneObject:
    _, shape, pattern, hues = OBJECTS[kind]
    first, last = (rng.uniform(0.15, [aspect - 0.15, 0.85]) for _ in range(2))
    steps = max(1, num_frames - 1)
    moves = num_frames > 1
    return SceneObject(
        label=1 + kind,
        shape=shape,
        texture=sample_texture(rng, pattern, hues),
        center=tuple(first),
        extent=(radius, radius),
        angle=rng.uniform(-0.4, 0.4),
        velocity=tuple((last - first) / steps) if moves else (0.0, 0.0),
        spin=rng.uniform(-0.05, 0.05) if moves else 0.0,
    )

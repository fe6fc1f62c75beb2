"""Textures of objects and grounds."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass

import numpy as np

from .kinds import HUES

NOISE_SIDE = 32
PERIOD = (0.07, 0.12)  # range in image heights


@dataclass(frozen=True)
class Texture:
    """A pattern of two colors that fills the plane.

    Attributes:
        pattern: A key of :data:`PATTERNS`.
        period: Length after which the pattern repeats, in image heights.
        angle: Direction in radians.
        colors: (2, 3) float32, each in [0, 1].
        noise: (32, 32) float32 in [0, 1], what makes noisy patterns; repeats as a torus.
    """

    pattern: str
    period: float
    angle: float
    colors: np.ndarray
    noise: np.ndarray

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Colors at points of the plane.

        Args:
            x: (H, W) float32, in image heights.
            y: (H, W) float32.

        Returns:
            np.ndarray: (H, W, 3) float32.
        """
        cos, sin = np.cos(self.angle) / self.period, np.sin(self.angle) / self.period
        u = np.float32(cos) * x + np.float32(sin) * y
        v = np.float32(cos) * y - np.float32(sin) * x
        share = np.float32(PATTERNS[self.pattern](u, v, self.noise))[..., None]
        first, second = self.colors
        return first + (second - first) * share


def sample_texture(rng: np.random.Generator, pattern: str, hues: Sequence[str]) -> Texture:
    """A texture of that pattern; direction, period, noise and shades are random.

    Args:
        rng: Source of everything random.
        pattern: A key of :data:`PATTERNS`.
        hues: Keys of :data:`HUES`, one of which is taken.
    """
    hue = HUES[hues[rng.integers(len(hues))]] + rng.uniform(-0.04, 0.04, 2)
    saturation = rng.uniform(0.35, 0.85, 2)
    light = rng.uniform([0.65, 0.3], [0.95, 0.5])[:: rng.choice([1, -1])]
    return Texture(
        pattern=pattern,
        period=rng.uniform(*PERIOD),
        angle=rng.uniform(0, np.pi),
        colors=np.float32([hsv_to_rgb(*c) for c in zip(hue % 1, saturation, light)]),
        noise=rng.random((NOISE_SIDE, NOISE_SIDE), dtype=np.float32),
    )


def _fraction(x: np.ndarray) -> np.ndarray:
    return x - np.floor(x)


def _smooth(noise: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Noise interpolated bilinearly between the whole coordinates."""
    i, j = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    a, b = u - i, v - j
    i0, i1, j0, j1 = (k % NOISE_SIDE for k in (i, i + 1, j, j + 1))
    return (1 - a) * ((1 - b) * noise[i0, j0] + b * noise[i0, j1]) + a * (
        (1 - b) * noise[i1, j0] + b * noise[i1, j1]
    )


def _bricks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Mortar 1, bricks 0: rows half a period high, every second moved by half a brick."""
    row = np.floor(2 * v)
    return (_fraction(2 * v) < 0.25) | (_fraction(u + 0.5 * (row % 2)) < 0.15)


def _lanes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Dashed lines between the lanes of a road that is one period wide."""
    line = (abs(v - 0.375) < 0.006) | (abs(v - 0.625) < 0.006)
    return line & (_fraction(6 * u) < 0.5)


# Share of the second color in [0, 1] at (u, v), in periods along and across the pattern.
PATTERNS = {
    'plain': lambda u, v, noise: np.zeros_like(u),
    'stripes': lambda u, v, noise: _fraction(u) < 0.5,
    'checks': lambda u, v, noise: (_fraction(u) < 0.5) ^ (_fraction(v) < 0.5),
    'dots': lambda u, v, noise: (_fraction(u) - 0.5) ** 2 + (_fraction(v) - 0.5) ** 2 < 0.1,
    'zigzag': lambda u, v, noise: _fraction(u + abs(_fraction(v) - 0.5)) < 0.5,
    'bricks': lambda u, v, noise: _bricks(u, v),
    'fur': lambda u, v, noise: _smooth(noise, 2 * u, 10 * v),
    'speckle': lambda u, v, noise: _smooth(noise, 5 * u, 5 * v),
    'waves': lambda u, v, noise: 0.5 + 0.5 * np.sin(2 * np.pi * u + 2 * np.sin(np.pi * v)),
    'grid': lambda u, v, noise: np.minimum(_fraction(u), _fraction(v)) < 0.15,
    'lanes': lambda u, v, noise: _lanes(u, v),
    'windscreen': lambda u, v, noise: (u > 0.1) & (u < 0.25),
}


@dataclass(frozen=True)
class Ground:
    """Textured ground beyond a wavy border.

    Attributes:
        label: Its class; 0 is unlabelled.
        texture: How it looks.
        direction: Which way the border faces, in radians.
        distance: Of the border from the middle of the left upper image square, in image heights;
            minus infinity for ground without a border.
        wave: Amplitude of the border's wave, in image heights.
    """

    label: int
    texture: Texture
    direction: float = 0.0
    distance: float = -np.inf
    wave: float = 0.0

    def depth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far points are beyond the border, in image heights; negative is on this side.

        Args:
            x: (H, W), in image heights.
            y: The same, downwards.
        """
        cos, sin = np.float32(np.cos(self.direction)), np.float32(np.sin(self.direction))
        u, v = cos * (x - 0.5) + sin * (y - 0.5), cos * (y - 0.5) - sin * (x - 0.5)
        return u + np.float32(self.wave) * np.sin(12 * v) - np.float32(self.distance)

"""A kind of ground and where it lies."""

from dataclasses import dataclass

import numpy as np

from .texture import Texture


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

"""One object of a scene."""

from dataclasses import dataclass

import numpy as np

from .kinds import SHAPES
from .texture import Texture

SHADOW = (0.15, 0.2)  # how far it falls to the right and down, in radii


@dataclass(frozen=True)
class SceneObject:
    """A textured, shaded object that throws a shadow and may move.

    Attributes:
        label: Its class, from 1.
        shape: A key of :data:`SHAPES`.
        texture: Moves and turns with the object.
        centre: x and y at frame 0, in image heights.
        extent: Half its length and half its width, in image heights.
        angle: Direction at frame 0, in radians.
        velocity: Image heights to the right and down in every frame.
        spin: Radians in every frame.
    """

    label: int
    shape: str
    texture: Texture
    centre: tuple[float, float]
    extent: tuple[float, float]
    angle: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)
    spin: float = 0.0

    def window(self, size: tuple[int, int], frame: int) -> tuple[slice, slice]:
        """Rows and columns of an image of that width and height that may show it or its shadow."""
        reach = 1.5 * max(self.extent)
        spans = []
        for centre, side in zip(self._centre(frame), size):
            first, last = ((centre + step) * size[1] for step in (-reach, reach))
            spans.append(slice(max(0, int(first)), min(side, max(0, int(last) + 1))))
        return spans[1], spans[0]

    def paint(
        self, image: np.ndarray, x: np.ndarray, y: np.ndarray, frame: int, shading: float
    ) -> np.ndarray:
        """Paint the object and its shadow, in place.

        Args:
            image: (H, W, 3) float32, in [0, 1].
            x: Where the pixels are (H, W), in image heights.
            y: The same, downwards.
            frame: Number of the frame, from 0.
            shading: How much darker it is away from the light; 0 is flat.

        Returns:
            np.ndarray: (H, W) bool, which pixels show the object.
        """
        centre, radius = self._centre(frame), max(self.extent)
        x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
        shadow = self._covers(x - SHADOW[0] * radius, y - SHADOW[1] * radius, frame)
        image[shadow] *= 0.6
        mask = self._covers(x, y, frame)
        shade = 1 - np.float32(shading / radius) * (x + y)  # brighter towards the upper left
        image[mask] = (self.texture(*self._turn(x, y, frame)) * shade[..., None])[mask]
        return mask

    def _centre(self, frame: int) -> tuple[float, float]:
        return tuple(c + frame * step for c, step in zip(self.centre, self.velocity))

    def _turn(self, x: np.ndarray, y: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Offsets from the centre in the object's own directions."""
        angle = self.angle + frame * self.spin
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return cos * x + sin * y, cos * y - sin * x

    def _covers(self, x: np.ndarray, y: np.ndarray, frame: int) -> np.ndarray:
        u, v = self._turn(x, y, frame)
        length, width = (np.float32(side) for side in self.extent)
        return SHAPES[self.shape](u / length, v / width)

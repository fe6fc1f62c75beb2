"""A scene and its pictures."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .ground import Ground
from .scene_object import SceneObject

BORDER = 0.75  # half the width in pixels of the unlabelled seam between two grounds


class Picture(NamedTuple):
    """What a scene looks like at one moment.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8: class of each pixel, from 1; 0 is unlabelled.
        instances: (H, W) uint8: 0 is ground, ``1 + i`` object i.
    """

    image: np.ndarray
    labels: np.ndarray
    instances: np.ndarray


@dataclass(frozen=True)
class Scene:
    """Objects on textured ground.

    Attributes:
        size: Width and height in pixels.
        grounds: Later ones cover earlier ones; the first has no border.
        objects: Later ones cover earlier ones.
        seed: Of the sensor's noise.
        drift: Image heights by which the ground moves to the left in every frame.
        flicker: How much the exposure may change between frames, as a share.
        shading: How much darker objects are on the side away from the light.
        light: Strength of the red, green and blue light on everything.
    """

    size: tuple[int, int]
    grounds: tuple[Ground, ...]
    objects: tuple[SceneObject, ...]
    seed: int
    drift: float = 0.0
    flicker: float = 0.0
    shading: float = 0.25
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def render(self, frame: int = 0) -> Picture:
        """Draw the scene; the same every time.

        Args:
            frame: Number of the frame, from 0.
        """
        width, height = self.size
        y, x = (np.mgrid[:height, :width].astype(np.float32) + 0.5) / np.float32(height)
        image, labels = self._draw_grounds(x + np.float32(frame * self.drift), y)
        instances = np.zeros((height, width), np.uint8)
        for number, item in enumerate(self.objects, 1):
            window = item.window(self.size, frame)
            mask = item.paint(image[window], x[window], y[window], frame, self.shading)
            labels[window][mask] = item.label
            instances[window][mask] = number
        rng = np.random.default_rng((self.seed, frame))
        image *= np.float32(self.light) * np.float32(1 + self.flicker * rng.uniform(-1, 1))
        image += 0.02 * rng.standard_normal(image.shape, dtype=np.float32)
        return Picture((255 * image.clip(0, 1)).astype(np.uint8), labels, instances)

    def _draw_grounds(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = self.grounds[0]
        image, labels = first.texture(x, y), np.full(x.shape, first.label, np.uint8)
        for ground in self.grounds[1:]:
            depth = ground.depth(x, y)
            image = np.where(depth[..., None] > 0, ground.texture(x, y), image)
            labels[depth > 0] = ground.label
            labels[abs(depth) * self.size[1] < BORDER] = 0
        return image, labels

"""A drawn scene: its objects, its picture, the boxes of its masks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .kinds import SHAPES
from .texture import Ground, Texture

SHADOW = (0.15, 0.2)  # how far it falls to the right and down, in radii


@dataclass(frozen=True)
class SceneObject:
    """A textured, shaded object that throws a shadow and may move.

    Attributes:
        label: Its class, from 1.
        shape: A key of :data:`SHAPES`.
        texture: Moves and turns with the object.
        center: x and y at frame 0, in image heights.
        extent: Half its length and half its width, in image heights.
        angle: Direction at frame 0, in radians.
        velocity: Image heights to the right and down in every frame.
        spin: Radians in every frame.
    """

    label: int
    shape: str
    texture: Texture
    center: tuple[float, float]
    extent: tuple[float, float]
    angle: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)
    spin: float = 0.0

    def window(self, size: tuple[int, int], frame: int) -> tuple[slice, slice]:
        """Rows and columns of an image of that width and height that may show it or its shadow."""
        reach = 1.5 * max(self.extent)
        spans = []
        for center, side in zip(self._center(frame), size):
            first, last = ((center + step) * size[1] for step in (-reach, reach))
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
        center, radius = self._center(frame), max(self.extent)
        x, y = x - np.float32(center[0]), y - np.float32(center[1])
        shadow = self._covers(x - SHADOW[0] * radius, y - SHADOW[1] * radius, frame)
        image[shadow] *= 0.6
        mask = self._covers(x, y, frame)
        shade = 1 - np.float32(shading / radius) * (x + y)  # brighter towards the upper left
        image[mask] = (self.texture(*self._turn(x, y, frame)) * shade[..., None])[mask]
        return mask

    def _center(self, frame: int) -> tuple[float, float]:
        return tuple(c + frame * step for c, step in zip(self.center, self.velocity))

    def _turn(self, x: np.ndarray, y: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Offsets from the center in the object's own directions."""
        angle = self.angle + frame * self.spin
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return cos * x + sin * y, cos * y - sin * x

    def _covers(self, x: np.ndarray, y: np.ndarray, frame: int) -> np.ndarray:
        u, v = self._turn(x, y, frame)
        length, width = (np.float32(side) for side in self.extent)
        return SHAPES[self.shape](u / length, v / width)


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


MIN_AREA = 16  # pixels; what is hidden but for less has no annotation


def visible_objects(scene: Scene, picture: Picture) -> list[tuple[int, np.ndarray]]:
    """The objects of a picture that can be annotated.

    Returns:
        list: Label, from 1, and mask (H, W) bool of the visible part of each.
    """
    masks = (picture.instances == number for number in range(1, len(scene.objects) + 1))
    pairs = ((item.label, mask) for item, mask in zip(scene.objects, masks))
    return [(label, mask) for label, mask in pairs if mask.sum() >= MIN_AREA]


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (both exclusive) of a mask (H, W) that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

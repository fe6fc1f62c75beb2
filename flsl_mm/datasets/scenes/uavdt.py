"""Vehicles on a road in the official layout of UAVDT."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from .ground import Ground
from .scene import Scene
from .scene_object import SceneObject
from .texture import NOISE_SIDE, Texture

SIDES = ((0.10, 0.07), (0.16, 0.08), (0.22, 0.09))  # car, truck, bus: length, width / image width
COLOURS = ((0.78, 0.16, 0.16), (0.16, 0.35, 0.78), (0.90, 0.78, 0.24))
WINDSCREEN = (0.12, 0.12, 0.14)
ASPHALT, LINES = (0.41, 0.41, 0.41), (0.92, 0.92, 0.92)
LANES = (0.25, 0.5, 0.75)


def write_uavdt(
    root: str | PathLike,
    sequences: Sequence[str],
    num_frames: int = 4,
    size: tuple[int, int] = (256, 136),
    seed: int = 0,
) -> None:
    """Write small sequences of vehicles on a road: images and ground truth.

    In each lane one vehicle drives to the right and partly out of the image. Each sequence has one
    ignored region, in its upper left corner.

    Args:
        root: Folder to fill with ``UAV-benchmark-M`` and ``UAV-benchmark-MOTD_v1.0``.
        sequences: Their names, such as ``['M0101', 'M0203']``.
        num_frames: Frames in each.
        size: Width and height in pixels.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    gt_dir = Path(root, 'UAV-benchmark-MOTD_v1.0/GT')
    gt_dir.mkdir(parents=True, exist_ok=True)
    width, height = size
    for name in sequences:
        folder = Path(root, 'UAV-benchmark-M', name)
        folder.mkdir(parents=True, exist_ok=True)
        starts = rng.uniform(0.1, 0.6, len(LANES)) * width
        categories = rng.permutation(len(SIDES))
        rows, regions = [], []
        for frame in range(1, num_frames + 1):
            boxes = _place_vehicles(starts + 0.04 * width * frame, categories, size)
            scene = _road_scene(rng, boxes, categories, size)
            rows += [
                (frame, target, *box, 1, 1, category + 1)
                for target, (box, category) in enumerate(zip(boxes, categories), 1)
                if box[0] < width
            ]
            regions.append((frame, 9, 0, 0, width // 6, height // 6, 1, -1, -1))
            image = Image.fromarray(scene.render().image)
            image.save(folder / f'img{frame:06d}.jpg', quality=95)
        for kind, lines in (('whole', rows), ('ignore', regions)):
            text = ''.join(','.join(map(str, line)) + '\n' for line in lines)
            (gt_dir / f'{name}_gt_{kind}.txt').write_text(text)


def _place_vehicles(
    lefts: np.ndarray, categories: np.ndarray, size: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height of the vehicle of each lane, in whole pixels."""
    boxes = []
    for left, lane, category in zip(lefts, LANES, categories):
        w, h = (round(side * size[0]) for side in SIDES[category])
        boxes.append((round(left), round(lane * size[1] - h / 2), w, h))
    return boxes


def _road_scene(
    rng: np.random.Generator,
    boxes: Sequence[tuple[int, int, int, int]],
    categories: np.ndarray,
    size: tuple[int, int],
) -> Scene:
    noise = np.zeros((NOISE_SIDE, NOISE_SIDE), np.float32)
    road = Texture('lanes', 1.0, 0.0, np.float32([ASPHALT, LINES]), noise)
    vehicles = []
    for (left, top, w, h), category in zip(boxes, categories):
        colours = np.float32([COLOURS[category], WINDSCREEN])
        vehicles.append(
            SceneObject(
                label=int(category) + 1,
                shape='block',
                texture=Texture('windscreen', w / size[1], 0.0, colours, noise),
                centre=((left + w / 2) / size[1], (top + h / 2) / size[1]),
                extent=(w / 2 / size[1], h / 2 / size[1]),
            )
        )
    return Scene(size, (Ground(0, road),), tuple(vehicles), int(rng.integers(2**31)), shading=0.1)

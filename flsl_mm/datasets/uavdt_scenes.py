"""Drawn frames in the official layout of UAVDT, to try everything without the data set."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

SIDES = ((0.10, 0.07), (0.16, 0.08), (0.22, 0.09))  # car, truck, bus: length, width / image width
COLOURS = ((200, 40, 40), (40, 90, 200), (230, 200, 60))
LANES = (0.25, 0.5, 0.75)


def draw_uavdt(
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
            image = _draw_road(rng, width, height)
            for target, (lane, start, category) in enumerate(zip(LANES, starts, categories), 1):
                w, h = (round(side * width) for side in SIDES[category])
                left, top = round(start + 0.04 * width * frame), round(lane * height - h / 2)
                _draw_vehicle(image[top : top + h, left : left + w], COLOURS[category])
                if left < width:
                    rows.append((frame, target, left, top, w, h, 1, 1, category + 1))
            regions.append((frame, 9, 0, 0, width // 6, height // 6, 1, -1, -1))
            Image.fromarray(image).save(folder / f'img{frame:06d}.jpg', quality=95)
        for kind, lines in (('whole', rows), ('ignore', regions)):
            text = ''.join(','.join(map(str, line)) + '\n' for line in lines)
            (gt_dir / f'{name}_gt_{kind}.txt').write_text(text)


def _draw_road(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Grey asphalt with dashed lines between the lanes, uint8 (H, W, 3)."""
    image = rng.normal(105, 8, (height, width, 1)).repeat(3, axis=2)
    dashes = np.arange(width) // 12 % 2 == 0
    for line in np.convolve(LANES, (0.5, 0.5), 'valid'):
        image[round(line * height), dashes] = 235
    return image.clip(0, 255).astype(np.uint8)


def _draw_vehicle(pixels: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Body and windscreen, in place, into what is visible of the vehicle's box."""
    pixels[:] = colour
    length = pixels.shape[1]
    pixels[2:-2, length * 3 // 5 : length * 3 // 4] = (30, 30, 35)

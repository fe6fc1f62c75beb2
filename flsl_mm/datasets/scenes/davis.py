"""Scenes in the layout of DAVIS-2017."""

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from ..davis import FRAMES, LISTS, MASKS, write_masks
from .boxes import visible_objects
from .kinds import OBJECTS
from .sampling import sample_scene
from .scene import Scene

MIN_SIDE = 16  # pixels


def write_davis(
    root: str | PathLike,
    num_train: int = 2,
    num_val: int = 6,
    num_frames: int = 12,
    size: tuple[int, int] = (128, 96),
    seed: int = 0,
) -> None:
    """Write short videos of one to three moving objects, all of them to be seen in the first frame.

    Frames are ``JPEGImages/480p/scene-val-001/00000.jpg``, masks ``Annotations/480p/...png`` with
    the number of the object in DAVIS' palette, lists ``ImageSets/2017/{train,val}.txt``. The folder
    is called 480p whatever the size, as readers expect.

    Args:
        root: Folder to fill.
        num_train: Training sequences.
        num_val: Validation sequences.
        num_frames: Frames in each.
        size: Width and height in pixels, each at least 16.
        seed: Of everything random; any number of sequences begins with those of a smaller number.

    Raises:
        ValueError: ``size`` is too small for objects to be seen.
    """
    if min(size) < MIN_SIDE:  # hardly any scene shows every object: it would be looked for forever
        raise ValueError(
            f'write_davis: size must be at least {MIN_SIDE} x {MIN_SIDE} pixels for objects to be '
            f'seen, got {size[0]} x {size[1]}'
        )
    sets = Path(root, LISTS)
    sets.mkdir(parents=True, exist_ok=True)
    for split, count in (('train', num_train), ('val', num_val)):
        names = [f'scene-{split}-{number:03}' for number in range(1, count + 1)]
        for number, name in enumerate(names, 1):
            rng = np.random.default_rng((seed, split == 'val', number))
            _write_sequence(Path(root), name, _sample_video(rng, size, num_frames), num_frames)
        (sets / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))


def _sample_video(rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> Scene:
    """A scene whose first frame, which methods are given, shows every object."""
    while True:
        kinds = rng.permutation(len(OBJECTS))[: rng.integers(1, 4)]
        scene = sample_scene(rng, size, kinds, (0.14, 0.25), num_frames)
        if len(visible_objects(scene, scene.render())) == len(kinds):
            return scene


def _write_sequence(root: Path, name: str, scene: Scene, num_frames: int) -> None:
    stems = [f'{frame:05}' for frame in range(num_frames)]
    pictures = [scene.render(frame) for frame in range(num_frames)]
    folder = root / FRAMES / name
    folder.mkdir(parents=True, exist_ok=True)
    for stem, picture in zip(stems, pictures):
        Image.fromarray(picture.image).save(folder / f'{stem}.jpg', quality=95)
    write_masks(root / MASKS / name, stems, np.stack([p.instances for p in pictures]))

"""Scenes in the layout of ADE20K's SceneParsing challenge."""

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from .sampling import sample_scene

SPLITS = dict(training='train', validation='val')


def write_ade20k(
    root: str | PathLike,
    num_train: int = 200,
    num_val: int = 50,
    size: tuple[int, int] = (96, 96),
    seed: int = 0,
) -> None:
    """Write ``images`` and ``annotations``, each with ``training`` and ``validation``.

    Masks hold the class of every pixel: 1 to 10 in the order of :data:`CLASSES`, 0 unlabelled (the
    seam between two kinds of ground).

    Args:
        root: Folder to fill, such as ``ADEChallengeData2016``.
        num_train: Training images.
        num_val: Validation images.
        size: Width and height in pixels.
        seed: Of everything random; any number of images begins with those of a smaller number.
    """
    for (split, short), count in zip(SPLITS.items(), (num_train, num_val)):
        images, masks = (Path(root, top, split) for top in ('images', 'annotations'))
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            rng = np.random.default_rng((seed, split == 'validation', number))
            picture = sample_scene(rng, size).render()
            name = f'ADE_{short}_{number:08}'
            Image.fromarray(picture.image).save(images / f'{name}.jpg', quality=92)
            Image.fromarray(picture.labels).save(masks / f'{name}.png')

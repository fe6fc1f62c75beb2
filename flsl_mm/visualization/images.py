"""Images for pictures: found, read and resized."""

import os
from collections.abc import Sequence
from glob import glob

import numpy as np
from PIL import Image

from ..datasets.image_channels import COLORS
from ..datasets.image_files import IMAGE_EXTENSIONS, find_images
from ..datasets.transforms.load_rgb_image import LoadRGBImage
from ..models import FrozenViT
from ..utils.errors import ConfigError, DataError
from ..utils.images import LONGEST, short_side_scale


def find_image_files(
    sources: Sequence[str], extensions: tuple[str, ...] = IMAGE_EXTENSIONS
) -> list[str]:
    """Paths of the images that files, folders and patterns stand for, folders searched in depth.

    Args:
        sources: Paths, or patterns such as ``photos/*.jpg`` (``**`` for any depth); a file is taken
            whatever its ending.
        extensions: File name endings to look for in folders.

    Raises:
        DataError: There is no such path, or no image at all.
    """
    paths: list[str] = []
    for source in expand_patterns(sources):
        paths += find_images(source, extensions) if os.path.isdir(source) else [source]
    if not paths:
        raise DataError(
            f'no images found in {", ".join(sources)} (looked for {", ".join(extensions)})'
        )
    return paths


def expand_patterns(sources: Sequence[str]) -> list[str]:
    """Files and folders that paths and patterns stand for; those of a pattern are sorted.

    Raises:
        DataError: There is none of a name.
    """
    found: list[str] = []
    for source in sources:
        matches = [source] if os.path.exists(source) else sorted(glob(source, recursive=True))
        if not matches:
            raise DataError(f'there is no image or folder {source}')
        found += matches
    return found


def read_pixels(path: str) -> np.ndarray:
    """Read any image file as upright RGB, uint8 (H, W, 3).

    Raises:
        DataError: The file cannot be read as an image.
    """
    try:
        return LoadRGBImage().transform(dict(img_path=path))['img']
    except OSError as error:
        raise DataError(f'{path} cannot be read as an image: {error}') from error


def check_draws(vit: FrozenViT, name: str) -> None:
    """Refuse a network of other images than pictures can show.

    Raises:
        ConfigError: It is one.
    """
    if vit.in_channels != COLORS:
        raise ConfigError(
            f'{name} takes images of {vit.in_channels} channels: maps are drawn on RGB alone'
        )


def resize_short_side(image: np.ndarray, short_side: int) -> np.ndarray:
    """Resize an image (H, W, 3) bicubically to a short side in pixels, keeping its proportions.

    The long side gets at most four times as long, the short one then less than ``short_side``.
    """
    height, width = image.shape[:2]
    scale = short_side_scale((height, width), short_side)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def long_image_note(path: str, resized: np.ndarray, short_side: int) -> str:
    """What to tell of an image that was too long for ``short_side``; '' of any other."""
    height, width = resized.shape[:2]
    if min(height, width) >= short_side:
        return ''
    return (
        f'{path} is more than {LONGEST} times as long as wide: resized to {width} x {height} '
        f'pixels, its short side is not {short_side}'
    )

"""Image files, opened without believing what they say of themselves."""

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import cv2
import numpy as np
from mmengine.fileio import get
from PIL import ExifTags, Image

from ..utils.files import read_regular

FREE_PIXELS = 50_000_000  # that any file may have; decoding takes up to 14 bytes for each
PIXELS_PER_BYTE = 200  # of larger ones; blank pages have fewer as JPEG, photos a hundredth
# Pillow itself refuses more than 179 million pixels.
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
"""How the content of a TIFF begins."""


def read_content(path: str | os.PathLike, backend_args: dict | None = None) -> bytes:
    """The content of a file: here of a regular one, else from mmengine's storage of that name.

    Raises:
        OSError: It cannot be read.
    """
    if backend_args or '://' in str(path):
        return get(path, backend_args=backend_args)
    return read_regular(path)


def open_image(content: bytes, choose: Callable[[int], int] | None = None) -> Image.Image:
    """Open an image that is going to be decoded to RGB.

    Color of 16 bits, of which Pillow would keep the upper 8, is scaled as grayscale is.

    Args:
        content: Of its file.
        choose: Which page of a TIFF that has several, by their number.

    Raises:
        ValueError: See :func:`open_page`.
        Exception: Of nearly every type: it is damaged, or no image.
    """
    image = open_page(content, choose)
    levels = deep_color(image, content)
    if levels is None:
        return image
    colors = levels[..., :3] if levels.shape[2] > 2 else levels[..., [0, 0, 0]]
    scaled = Image.fromarray(np.ascontiguousarray(scale_levels(colors)))
    scaled.info['scaled'] = True
    return scaled


def open_page(content: bytes, choose: Callable[[int], int] | None = None) -> Image.Image:
    """Open an image as it is; arguments as of :func:`open_image`.

    Raises:
        ValueError: It says that it has far more pixels than its file can be meant to have, or it
            has several pages and none is chosen.
        Exception: Of nearly every type: it is damaged, or no image.
    """
    image = Image.open(io.BytesIO(content))
    if (pages := page_count(image)) > 1:
        if choose is None:
            raise ValueError(f'a TIFF of {pages} pages: here an image is one page, save them apart')
        image.seek(int(choose(pages)))
    check_pixels(image.width, image.height, content)
    return image


def open_tiff(file: BinaryIO) -> Any:
    """Open a TIFF with tifffile.

    Raises:
        ValueError: tifffile is not there.
        Exception: Of nearly every type: it is damaged.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ValueError(
            f'a TIFF of such channels needs tifffile ({error}): pip install tifffile'
        ) from error
    # By itself it asks the file for its name, which is a number after `open_regular`.
    return tifffile.TiffFile(file, name='TIFF')


def check_pixels(width: int, height: int, content: bytes) -> None:
    """Refuse an image before it is decoded.

    Raises:
        ValueError: It has far more pixels than its file can be meant to have.
    """
    if width * height > max(FREE_PIXELS, PIXELS_PER_BYTE * len(content)):
        raise ValueError(
            f'{width} x {height} pixels in a file of {len(content)} bytes: not decoded'
        )


def page_count(image: Image.Image) -> int:
    """The pages of a TIFF; 1 of any other file, also of animations and stereo pictures."""
    return image.n_frames if image.format == 'TIFF' else 1


def is_deep(image: Image.Image) -> bool:
    """Whether an opened image has, or had, more than 8 bits for each channel."""
    return image.mode.startswith(('I', 'F')) or 'scaled' in image.info


def scale_levels(levels: np.ndarray, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """Levels of any type in 0-255, uint8 of the same shape; what is no number is black.

    Args:
        levels: (H, W) or (H, W, C).
        value_range: Those that become black and white; by default the 0.1st and the 99.9th
            percentile, which a few hot pixels do not move.

    Raises:
        ValueError: None is a finite number, or the range is too large for one.
    """
    levels = levels.astype(np.float64)
    finite = np.isfinite(levels)
    if not finite.any():
        raise ValueError('no pixel is a finite number')
    with np.errstate(over='ignore', invalid='ignore'):
        if value_range is None:
            value_range = np.percentile(levels[finite], (0.1, 99.9))
        low, high = map(float, value_range)
        if not np.isfinite(high - low):
            raise ValueError(
                f'values from {levels[finite].min():g} to {levels[finite].max():g} are too far '
                'apart to be scaled'
            )
    scaled = (np.where(finite, levels, low) - low) * (255 / (high - low) if high > low else 0)
    return (scaled.clip(0, 255) + 0.5).astype(np.uint8)


def deep_color(image: Image.Image, content: bytes) -> np.ndarray | None:
    """The levels (H, W, C) of colors of 16 bits, R, G, B first; None of any other image.

    Args:
        image: Opened, not decoded yet.
        content: Of its file.

    Raises:
        ValueError: They cannot be read.
    """
    if len(image.getbands()) == 1 or not any(';16' in str(part) for part in image.tile):
        return None
    if page_count(image) > 1 or image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        raise ValueError('color of 16 bits in several pages, or turned, is not supported')
    levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None:
        raise ValueError('color of 16 bits that OpenCV cannot read')
    if levels.ndim == 2:
        return levels[..., None].repeat(3, axis=2)
    if len(image.getbands()) == 2:  # which OpenCV makes four of
        return levels[..., [0, -1]]
    return levels[..., [2, 1, 0, *range(3, levels.shape[2])]]

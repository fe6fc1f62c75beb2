"""Images of any number of channels: multispectral TIFF, arrays, and what else has no RGB."""

import io
import os
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..utils.files import first_line, open_regular
from ..utils.images import other_channels
from .image_content import TIFF, check_pixels, deep_color, open_page, open_tiff, scale_levels
from .orientation import oriented

COLORS = 3
"""Of the channels of a multispectral image so many, the first, are R, G, B."""
# Tags of a TIFF, and some of their values.
BITS, COLOR_SPACE, CHANNELS, PLANES, EXTRA = 258, 262, 277, 284, 338
WHITE_IS_ZERO, PALETTE, INKS, APART, TRANSPARENT = 0, 3, 5, 2, (1, 2)
# Of PIL's modes those whose bands are channels; in the others they stand for RGB together.
_PLAIN_MODES = ('L', 'LA', 'RGB', 'RGBA')


def is_array(content: bytes) -> bool:
    """Whether the content of a file is numpy's."""
    return content.startswith(np.lib.format.MAGIC_PREFIX)


def is_beyond_pillow(content: bytes) -> bool:
    """Whether Pillow would not give all channels of an image, so :func:`decode_channels` has to.

    So it is of arrays, and of a TIFF whose channels are not gray, or colors, and transparency.
    """
    if is_array(content):
        return True
    if not content.startswith(TIFF):
        return False
    try:
        with Image.open(io.BytesIO(content)) as image:
            tags, bands = image.tag_v2, len(image.getbands())
    except UnidentifiedImageError:
        return True
    except Exception:  # of nearly every type, and told when it is read
        return False
    extra = tags.get(EXTRA, ())
    extra = (extra,) if isinstance(extra, int) else extra
    channels = tags.get(CHANNELS, 1) - sum(kind in TRANSPARENT for kind in extra)
    colors = len('CMYK') if tags.get(COLOR_SPACE) == INKS else COLORS
    apart = tags.get(PLANES) == APART and max(tags.get(BITS, (1,))) > 8
    return channels not in (1, colors) or bands < channels or (channels > 1 and apart)


def decode_channels(
    content: bytes,
    channels: int | None = None,
    value_range: Sequence[float] | None = None,
    choose: Callable[[int], int] | None = None,
) -> np.ndarray:
    """Upright pixels of an image with all of its channels.

    They are in the order of the file, of which the first three are taken for R, G, B where there
    are so many. Transparency is a channel. Palettes, CMYK and other colors are three channels, RGB.
    Of 8 bits they are as they are; others are scaled, see :func:`scale_channels`.

    Args:
        content: Of a TIFF, of a ``.npy`` file with an array (H, W) or (H, W, C), or of any other
            image file.
        channels: How many are wanted; None for those of the file.
        value_range: Values that become 0 and 255, of all channels.
        choose: Which page of a TIFF that has several, by their number. Pages of one channel are
            the channels of one image where as many are wanted.

    Returns:
        np.ndarray: (H, W, C), uint8.

    Raises:
        ValueError: The file has other channels, or is of no kind that can be read here.
        Exception: Of nearly every type: it is damaged.
    """
    if is_array(content):
        levels = _read_array(content)
    elif content.startswith(TIFF):
        levels = _read_tiff(content, channels, choose)
    else:
        levels = _read_picture(content, choose)
    if channels == COLORS and levels.shape[2] == 1:  # as of any other gray image
        levels = levels.repeat(COLORS, axis=2)
    if channels not in (None, levels.shape[2]):
        raise ValueError(f'it has {other_channels(levels.shape[2], channels)}')
    return scale_channels(levels, value_range)


def scale_channels(levels: np.ndarray, value_range: Sequence[float] | None = None) -> np.ndarray:
    """Channels of any type in 8 bits.

    By default each becomes 0 to 255 by its own range, as units of channels differ; R, G, B by
    their common one, which keeps their colors.

    Args:
        levels: (H, W, C).
        value_range: Values that become 0 and 255, of all channels.

    Returns:
        np.ndarray: (H, W, C), uint8.

    Raises:
        ValueError: A channel has no finite number, or the values are too large.
    """
    if levels.dtype == np.uint8:
        return levels
    if levels.dtype == bool:
        return levels.astype(np.uint8) * 255
    if value_range is not None:
        return scale_levels(levels, value_range)
    colors = COLORS if levels.shape[2] >= COLORS else 0
    parts = [levels[..., :colors]] if colors else []
    parts += [levels[..., i : i + 1] for i in range(colors, levels.shape[2])]
    return np.concatenate([scale_levels(part) for part in parts], axis=2)


def _read_array(content: bytes) -> np.ndarray:
    """The array of a ``.npy`` file, (H, W, C)."""
    file = io.BytesIO(content)
    shape, by_column, kind = _array_header(file)
    if prod(shape) * kind.itemsize != len(content) - file.tell():
        raise ValueError('the file is truncated')
    levels = np.frombuffer(content, kind, offset=file.tell())
    levels = levels.reshape(shape, order='F' if by_column else 'C')
    return levels if len(shape) == 3 else levels[..., None]


def _array_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of the array of a ``.npy`` file, whose header is read then.

    Raises:
        ValueError: It is no image.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f'a .npy file of version {version[0]}.{version[1]}')
    read = getattr(np.lib.format, f'read_array_header_{version[0]}_0')
    shape, by_column, kind = read(file)
    if kind.kind not in 'buif':
        raise ValueError(f'an array of {kind}, not of numbers')
    if len(shape) not in (2, 3) or not all(shape):
        raise ValueError(
            f'an array {" x ".join(map(str, shape)) or "of one number"}: an image is (H, W) or '
            '(H, W, channels)'
        )
    return shape, by_column, kind


def _read_tiff(
    content: bytes, channels: int | None, choose: Callable[[int], int] | None
) -> np.ndarray:
    """A page of a TIFF, or the pages that are its channels, (H, W, C).

    Raises:
        ValueError: It has several pages and none is chosen, is turned, or of a kind that tifffile
            does not read.
    """
    with open_tiff(io.BytesIO(content)) as file:
        pages = [page for page in file.pages if not page.is_reduced]  # no thumbnails
        together = len(pages) > 1 and all(p.shape == pages[0].shape for p in pages)
        together = together and pages[0].samplesperpixel == 1 and channels in (None, len(pages))
        if not together and len(pages) > 1:
            if choose is None:
                raise ValueError(
                    f'a TIFF of {len(pages)} pages: here an image is one page, save them apart'
                )
            pages = [pages[int(choose(len(pages)))]]
        pages = pages if together else pages[:1]
        levels = np.stack([_page_levels(page, content) for page in pages], axis=2)
        return levels.reshape(*levels.shape[:2], -1)


def _page_levels(page: Any, content: bytes) -> np.ndarray:
    """A page (H, W) or (H, W, C) of a TIFF that tifffile has opened."""
    tag = page.tags.get('Orientation')
    if tag is not None and tag.value != 1:
        raise ValueError('a TIFF of such channels with an orientation tag is not supported')
    check_pixels(page.imagewidth, page.imagelength, content)
    levels = page.asarray()
    if page.axes == 'SYX':  # each channel by itself
        levels = np.moveaxis(levels, 0, -1)
    if page.axes not in ('YX', 'YXS', 'SYX'):
        raise ValueError(f'a TIFF of axes {page.axes}')
    if page.photometric == PALETTE:
        raise ValueError('a TIFF with a palette has one channel of indices')
    if page.photometric == INKS and page.tags.valueof('InkSet', 1) == 1:
        raise ValueError('a TIFF of CMYK has four channels of inks')
    if page.photometric == WHITE_IS_ZERO and levels.dtype.kind in 'bu':
        levels = ~levels
    return levels


def _read_picture(content: bytes, choose: Callable[[int], int] | None) -> np.ndarray:
    """The channels (H, W, C) of an image that PIL opens."""
    with open_page(content, choose) as image:
        if (levels := deep_color(image, content)) is not None:
            return levels
        image = oriented(image)
        if image.mode == '1' or image.mode.startswith(('I', 'F')):
            return np.asarray(image)[..., None]
        if image.mode not in _PLAIN_MODES:
            image = image.convert('RGB')
        return np.atleast_3d(np.asarray(image))


def swap_colors(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W, C) with R, G, B for B, G, R and the other way round; the others stay."""
    if pixels.shape[2] < COLORS:
        return pixels
    return np.ascontiguousarray(pixels[..., [2, 1, 0, *range(COLORS, pixels.shape[2])]])


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) of pixels (H, W) or (H, W, C): their B, G, R, or the first channel."""
    pixels = np.atleast_3d(pixels)
    return np.ascontiguousarray(pixels[..., [2, 1, 0] if pixels.shape[2] >= COLORS else [0, 0, 0]])


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height in pixels, as stored, from the header of an image file.

    Raises:
        OSError: It cannot be read, or is no image.
        ValueError: It is damaged.
        SyntaxError: Likewise, of a PNG.
    """
    with open_regular(path) as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
        file.seek(0)
        if is_array(start):
            shape = _array_header(file)[0]
            return shape[1], shape[0]
        try:
            with Image.open(file) as image:
                return image.size
        except UnidentifiedImageError:
            if not start.startswith(TIFF):
                raise
        file.seek(0)
        try:
            with open_tiff(file) as tiff:
                size = tiff.pages[0].imagewidth, tiff.pages[0].imagelength
        except ValueError:
            raise
        except Exception as error:  # tifffile's own, and whatever damage leads to
            raise ValueError(f'a damaged TIFF ({first_line(error)})') from error
    if not all(size):
        raise ValueError('a damaged TIFF (without a size)')
    return size

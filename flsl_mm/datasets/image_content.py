"""Image files, opened without believing what they say of themselves."""

import io
import os
from collections.abc import Callable

from mmengine.fileio import get
from PIL import Image

from ..utils.files import open_regular, read_regular

FREE_PIXELS = 50_000_000  # that any file may have; decoding takes up to 14 bytes for each
PIXELS_PER_BYTE = 200  # of larger ones; blank pages have fewer as JPEG, photos a hundredth
# Pillow itself refuses more than 179 million pixels.


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

    Args:
        content: Of its file.
        choose: Which page of a TIFF that has several, by their number.

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
    pixels = image.width * image.height
    if pixels > max(FREE_PIXELS, PIXELS_PER_BYTE * len(content)):
        raise ValueError(
            f'{image.width} x {image.height} pixels in a file of {len(content)} bytes: not decoded'
        )
    return image


def page_count(image: Image.Image) -> int:
    """The pages of a TIFF; 1 of any other file, also of animations and stereo pictures."""
    return image.n_frames if image.format == 'TIFF' else 1


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height in pixels, as stored, from the header of an image file.

    Raises:
        OSError: It cannot be read, or is no image.
        ValueError: It is damaged.
        SyntaxError: Likewise, of a PNG.
    """
    with open_regular(path) as file, Image.open(file) as image:
        return image.size

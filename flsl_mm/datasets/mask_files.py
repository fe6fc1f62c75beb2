"""Files of masks: classes or object ids of pixels."""

import io
from os import PathLike

import numpy as np
from PIL import Image

from ..utils.errors import DataError
from ..utils.files import read_regular


def read_mask(path: str | PathLike) -> np.ndarray:
    """The values of a mask, classes or object ids: uint8 (H, W).

    Args:
        path: An image of 8 bits and one channel, with a palette or gray.

    Raises:
        DataError: It is not readable, or of another kind.
    """
    try:
        with Image.open(io.BytesIO(read_regular(path))) as image:
            mode, mask = image.mode, np.array(image)
    except Exception as error:  # decoders raise nearly every exception type on damaged files
        raise DataError(f'mask {path} cannot be read: {type(error).__name__}: {error}') from error
    if mode not in ('P', 'L'):
        raise DataError(
            f"mask {path} is of Pillow's mode {mode}: masks have 8 bits and one channel, P or L"
        )
    return mask

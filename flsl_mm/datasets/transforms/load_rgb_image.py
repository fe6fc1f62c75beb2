"""Any image file to upright RGB."""

import numpy as np
import simplejpeg
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from ...utils.errors import ConfigError
from ..image_content import open_image, read_content
from ..orientation import SIDEWAYS, orientation_of, oriented


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Decode an image file to upright 8-bit RGB.

    The orientation of the EXIF data is applied; grayscale, palette and CMYK images are converted,
    transparency is dropped (colors stay as stored), 16-bit grayscale is scaled to 8 bits.

    Required key: ``img_path``, or ``img_bytes``, the content of the file, which is removed. Added
    keys: ``img`` (H, W, 3) uint8, ``ori_shape`` (height, width) of the upright original in pixels,
    ``reduction``, how many times smaller than that ``img`` is, and ``min_side``.

    Args:
        min_side: If given, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where its short side
            stays at least this many pixels. It costs a fraction of the whole and differs from it
            by the decoder's way of averaging (in the frequency domain).

    Raises:
        OSError: The file cannot be read as an image; says why.
        ConfigError: Wrong ``min_side``.
    """

    def __init__(self, min_side: int | None = None) -> None:
        if min_side is not None and min_side < 1:
            raise ConfigError(f'LoadRGBImage: min_side must be at least 1 pixel, got {min_side}')
        self.min_side = min_side

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        content = results.pop('img_bytes', None)
        try:
            if content is None:
                content = read_content(results['img_path'])
            with open_image(content) as image:
                height, width = image.height, image.width
                reduction = self._reduction(image)
                sideways = orientation_of(image) in SIDEWAYS
                pixels = decode(image, content, reduction)
            if reduction == 1:  # of a TIFF, Pillow gives the size already turned
                height, width = pixels.shape[:2]
            elif sideways:
                height, width = width, height
        except UnidentifiedImageError as error:
            # PIL's own message names the buffer by its address, another one at each read.
            raise OSError('UnidentifiedImageError: no image of a known format') from error
        except Exception as error:
            # Decoders raise nearly every exception type on damaged files.
            raise OSError(f'{type(error).__name__}: {error}') from error
        results['img'] = pixels
        results['ori_shape'] = (height, width)
        results['reduction'] = reduction
        results['min_side'] = self.min_side
        return results

    def _reduction(self, image: Image.Image) -> int:
        """How many times smaller to decode an image."""
        if self.min_side is None or image.format != 'JPEG':
            return 1
        return next((f for f in (8, 4, 2) if min(image.size) >= f * self.min_side), 1)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_side={self.min_side})'


def decode(image: Image.Image, content: bytes, reduction: int) -> np.ndarray:
    """Upright 8-bit RGB pixels.

    An upright color or grayscale JPEG goes to libjpeg-turbo directly, which saves PIL's own copies
    of the pixels; they are the same. All else, and what is not quite whole, is left to PIL.

    Args:
        image: The image, opened by PIL, not decoded yet.
        content: The content of its file.
        reduction: 1, or for a JPEG 2, 4 or 8 for so many times fewer pixels along each axis.

    Returns:
        np.ndarray: Pixels (H, W, 3), uint8.

    Raises:
        Exception: Of nearly every type: the file is damaged.
    """
    width, height = (-(-side // reduction) for side in image.size)
    upright = orientation_of(image) == 1
    if image.format == 'JPEG' and image.mode in ('RGB', 'L') and upright:
        try:
            # its smallest scaling that reaches the minimum is then the wanted one
            return simplejpeg.decode_jpeg(content, min_height=height, min_width=width)
        except ValueError:
            pass  # PIL bears with some damage
    if reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
    return np.array(to_rgb(oriented(image)))


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a PIL image of any mode to 8-bit RGB.

    Raises:
        ValueError: The pixels are floating-point numbers, whose range is unknown.
    """
    if image.mode == 'RGB':
        image.load()
        return image
    if image.mode == 'F':
        raise ValueError('floating-point images have no known range')
    if image.mode.startswith('I'):  # 16-bit grayscale, which convert() would clip to white
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    elif image.mode == 'P' and 'transparency' in image.info:
        image = image.convert('RGBA')  # PIL warns about the direct way
    return image.convert('RGB')

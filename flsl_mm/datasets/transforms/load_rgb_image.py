"""Any image file to upright RGB, or to as many channels as a network takes."""

from collections.abc import Callable

import numpy as np
import simplejpeg
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from ...utils.errors import ConfigError
from ..image_channels import COLORS, decode_channels, is_beyond_pillow
from ..image_content import is_deep, open_image, read_content, scale_levels
from ..orientation import SIDEWAYS, orientation_of, oriented


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Decode an image file to upright 8-bit RGB.

    The orientation of the EXIF data is applied; grayscale, palette and CMYK images are converted,
    transparency is dropped (colors stay as stored), grayscale of 16 or 32 bits or of floating-point
    numbers is scaled to 8 bits (:func:`to_rgb`). Of a TIFF with several pages one is drawn at
    random where the results have a generator ``rng``, as in pretraining; elsewhere it is an error.
    With other ``channels`` than 3 the image must have so many (:func:`decode_channels`).

    Required key: ``img_path``, or ``img_bytes``, the content of the file, which is removed. Added
    keys: ``img`` (H, W, C) uint8, ``ori_shape`` (height, width) of the upright original in pixels,
    ``reduction``, how many times smaller than that ``img`` is, and ``min_side``.

    Args:
        min_side: If given, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where its short side
            stays at least this many pixels. It costs a fraction of the whole and differs from it
            by the decoder's way of averaging (in the frequency domain).
        value_range: Darkest and brightest value of grayscale of more than 8 bits, and of the
            channels of arrays and of multispectral images; by default those of each file.
        channels: What the network takes, C. A run whose ``model.backbone.in_channels`` is no 3
            fills it in.

    Raises:
        OSError: The file cannot be read as an image, or has other channels; says why.
        ConfigError: Wrong ``min_side``, ``value_range`` or ``channels``.
    """

    def __init__(
        self,
        min_side: int | None = None,
        value_range: tuple[float, float] | None = None,
        channels: int = COLORS,
    ) -> None:
        if channels < 1:
            raise ConfigError(f'LoadRGBImage: channels must be at least 1, got {channels}')
        if min_side is not None and min_side < 1:
            raise ConfigError(f'LoadRGBImage: min_side must be at least 1 pixel, got {min_side}')
        if value_range is not None and not (len(value_range) == 2 and np.diff(value_range) > 0):
            raise ConfigError(
                f'LoadRGBImage: value_range must be (darkest, brightest), got {value_range}'
            )
        self.min_side, self.value_range, self.channels = min_side, value_range, channels

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        content = results.pop('img_bytes', None)
        try:
            if content is None:
                content = read_content(results['img_path'])
            rng = results.get('rng')
            choose = rng and rng.integers
            if self.channels != COLORS or is_beyond_pillow(content):
                pixels = decode_channels(content, self.channels, self.value_range, choose)
                shape, reduction = pixels.shape[:2], 1
            else:
                pixels, shape, reduction = self._decode_rgb(content, choose)
        except UnidentifiedImageError as error:
            # PIL's own message names the buffer by its address, another one at each read.
            raise OSError('UnidentifiedImageError: no image of a known format') from error
        except Exception as error:
            # Decoders raise nearly every exception type on damaged files.
            raise OSError(f'{type(error).__name__}: {error}') from error
        results['img'] = pixels
        results['ori_shape'] = shape
        results['reduction'] = reduction
        results['min_side'] = self.min_side
        return results

    def _decode_rgb(
        self, content: bytes, choose: Callable[[int], int] | None
    ) -> tuple[np.ndarray, tuple[int, int], int]:
        """Pixels (H, W, 3), height and width of the original, and how many times it is larger."""
        with open_image(content, choose) as image:
            height, width = image.height, image.width
            reduction = self._reduction(image)
            sideways = orientation_of(image) in SIDEWAYS
            pixels = decode(image, content, reduction, self.value_range)
        if reduction == 1:  # of a TIFF, Pillow gives the size already turned
            return pixels, pixels.shape[:2], 1
        return pixels, (width, height) if sideways else (height, width), reduction

    def _reduction(self, image: Image.Image) -> int:
        """How many times smaller to decode an image."""
        if self.min_side is None or image.format != 'JPEG':
            return 1
        return next((f for f in (8, 4, 2) if min(image.size) >= f * self.min_side), 1)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(min_side={self.min_side}, value_range={self.value_range}, '
            f'channels={self.channels})'
        )


def decode(
    image: Image.Image,
    content: bytes,
    reduction: int,
    value_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """Upright 8-bit RGB pixels.

    An upright color or grayscale JPEG goes to libjpeg-turbo directly, which saves PIL's own copies
    of the pixels; they are the same. All else, and what is not quite whole, is left to PIL.

    Args:
        image: The image, opened by PIL, not decoded yet.
        content: The content of its file.
        reduction: 1, or for a JPEG 2, 4 or 8 for so many times fewer pixels along each axis.
        value_range: See :func:`to_rgb`.

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
    return np.array(to_rgb(oriented(image), value_range))


def to_rgb(image: Image.Image, value_range: tuple[float, float] | None = None) -> Image.Image:
    """Convert a PIL image of any mode to 8-bit RGB.

    Grayscale of more than 8 bits is scaled (:func:`scale_levels`): nobody knows which of its levels
    a camera of 10, 12 or 14 bits uses, and most would come out near black.

    Args:
        image: The image.
        value_range: The values of such grayscale that become black and white; by default its own.

    Raises:
        ValueError: No pixel is a finite number.
    """
    if image.mode == 'RGB':
        image.load()
        return image
    if is_deep(image):
        image = Image.fromarray(scale_levels(np.asarray(image), value_range))
    elif image.mode == 'P' and 'transparency' in image.info:
        image = image.convert('RGBA')  # PIL warns about the direct way
    return image.convert('RGB')

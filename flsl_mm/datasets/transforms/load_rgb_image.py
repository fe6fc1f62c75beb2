"""Any image file to upright RGB."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Decode an image file to upright 8-bit RGB.

    The orientation of the EXIF data is applied; greyscale, palette and CMYK images are converted,
    transparency is dropped (colours stay as stored), 16-bit greyscale is scaled to 8 bits.

    Required key: ``img_path``. Added keys: ``img`` (PIL image, mode RGB) and ``ori_shape``
    (height, width) in pixels after rotation.

    Raises:
        OSError: The file cannot be read as an image; says why.
    """

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        try:
            with Image.open(results['img_path']) as image:
                ImageOps.exif_transpose(image, in_place=True)
                image = to_rgb(image)
        except Exception as error:
            # Decoders raise nearly every exception type on damaged files.
            raise OSError(f'{type(error).__name__}: {error}') from error
        results['img'] = image
        results['ori_shape'] = (image.height, image.width)
        return results


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
    if image.mode.startswith('I'):  # 16-bit greyscale, which convert() would clip to white
        levels = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    elif image.mode == 'P' and 'transparency' in image.info:
        image = image.convert('RGBA')  # PIL warns about the direct way
    return image.convert('RGB')

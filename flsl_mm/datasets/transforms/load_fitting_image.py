"""Images that fit their annotations, in the pipelines of mmdet and mmseg; needs mmcv alone."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import Image, UnidentifiedImageError

from ...utils.errors import DataError
from ...utils.files import first_line
from ..image_channels import COLORS, decode_channels, is_beyond_pillow, swap_colors
from ..image_content import is_deep, open_image, read_content
from ..orientation import describe_sizes, orientation_of, oriented
from .load_rgb_image import to_rgb

CHANNELS = dict(color=COLORS, grayscale=1)


class LoadFittingImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, for images whose annotations are for a size in pixels.

    That size (``width`` and ``height``, or that of the mask at ``seg_map_path``) says whether an
    orientation tag is applied (:func:`oriented`), and must be that of the image. An image that is
    not whole is refused, where OpenCV would fill the rest with gray. With
    ``color_type='unchanged'`` it has all of its channels (:func:`decode_channels`), B, G, R first,
    and is upright.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``results['img_path']``: BGR, gray (H, W), or all channels (H, W, C).

        Raises:
            FileNotFoundError: There is no such file.
            DataError: It is no whole image, or of another size.
        """
        path = results['img_path']
        content = read_content(path, self.backend_args)
        size, source = stated_size(results)
        try:
            image, stored = self._decode(content, size)
        except Exception as error:  # decoders raise nearly every exception type on damaged files
            reason = first_line(error)
            if isinstance(error, UnidentifiedImageError):  # PIL's names the buffer by its address
                reason = 'no image of a known format'
            raise DataError(f'failed to load image: {path}: {reason}') from error
        if image is None:
            raise DataError(describe_sizes(path, stored, size, source))
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _decode(
        self, content: bytes, size: tuple[int, int] | None
    ) -> tuple[np.ndarray | None, tuple[int, int]]:
        """Pixels, None where they do not fit ``size``; and the size of the file as stored."""
        if not content:
            raise ValueError('the file is empty')
        check_whole(content)
        if self.color_type == 'unchanged' or is_beyond_pillow(content):
            pixels = decode_channels(content, CHANNELS.get(self.color_type))
            stored = pixels.shape[1::-1]
            pixels = swap_colors(pixels) if pixels.shape[2] > 1 else pixels[..., 0]
            return pixels if size in (None, stored) else None, stored
        with open_image(content) as header:
            stored = header.size
            # a PNG would have to be decoded once more to find out
            tagged = header.format != 'PNG' or b'eXIf' in content
            # OpenCV would cut off the bits that are too many
            special = is_deep(header) or (tagged and orientation_of(header) != 1)
            if special and self.color_type in ('color', 'grayscale'):
                image = oriented(header, size)
                return None if image is None else self._pixels(image), stored
        image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise ValueError('no image of a known format')
        fits = size in (None, image.shape[1::-1])
        return image if fits else None, stored

    def _pixels(self, image: Image.Image) -> np.ndarray:
        """Pixels of an image: BGR (H, W, 3), or gray (H, W)."""
        if self.color_type == 'grayscale':
            return np.array(to_rgb(image).convert('L'))
        return np.array(to_rgb(image))[..., ::-1].copy()


def stated_size(results: Mapping[str, Any]) -> tuple[tuple[int, int] | None, str | None]:
    """Width and height that the annotations are for, if known, and the mask that says so."""
    mask = results.get('seg_map_path')
    if results.get('width') and results.get('height'):
        return (results['width'], results['height']), None
    if mask:
        try:
            with Image.open(io.BytesIO(read_content(mask))) as image:
                return image.size, mask
        except Exception:  # it is told by the transform that loads it
            pass
    return None, None


def check_whole(content: bytes) -> None:
    """Refuse a JPEG or PNG without its end; decoders would fill in what is missing.

    Raises:
        ValueError: It has none.
    """
    jpeg, png = content.startswith(b'\xff\xd8'), content.startswith(b'\x89PNG')
    # in the data of a scan these two markers do not occur
    cut = jpeg and content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda')
    if cut or (png and b'IEND' not in content[-64:]) or (jpeg and b'\xff\xda' not in content):
        raise ValueError('the file is truncated')


def load_fitting_images(
    pipeline: Sequence[dict | Callable], **replaced: Callable[[dict], Callable]
) -> list:
    """A pipeline that loads images with :class:`LoadFittingImage`.

    Configs keep the names of the library's own transforms, which its inferencers look for.

    Args:
        pipeline: Configs of transforms, or transforms.
        replaced: By the name of a transform what makes another one from its other arguments.

    Returns:
        list: The pipeline, with these in place of ``LoadImageFromFile`` and those named, also
        where they are in another transform.
    """
    makers = dict(LoadImageFromFile=lambda options: LoadFittingImage(**options), **replaced)
    return [_replace(item, makers) for item in pipeline]


def _replace(item: Any, makers: Mapping[str, Callable[[dict], Callable]]) -> Any:
    if isinstance(item, (list, tuple)):
        return [_replace(part, makers) for part in item]
    if not isinstance(item, Mapping) or 'type' not in item:
        return item
    kind = item['type']
    name = kind if isinstance(kind, str) else kind.__name__
    options = {key: value for key, value in item.items() if key not in ('type', '_scope_')}
    if name.rpartition('.')[2] in makers:
        return makers[name.rpartition('.')[2]](options)
    if 'transforms' in options:
        options['transforms'] = _replace(options['transforms'], makers)
    return {**item, **options}

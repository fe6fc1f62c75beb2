"""The one convention for images with an orientation tag, of EXIF data or of a TIFF."""

from collections.abc import Sequence

from PIL import ExifTags, Image

TURNS = Image.Transpose
# What makes an image upright, by its tag; 1 is upright.
_TO_UPRIGHT = {
    2: TURNS.FLIP_LEFT_RIGHT,
    3: TURNS.ROTATE_180,
    4: TURNS.FLIP_TOP_BOTTOM,
    5: TURNS.TRANSPOSE,
    6: TURNS.ROTATE_270,
    7: TURNS.TRANSVERSE,
    8: TURNS.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
"""Tags of images whose rows and columns are exchanged."""
_TO_STORED = {**_TO_UPRIGHT, 6: TURNS.ROTATE_90, 8: TURNS.ROTATE_270}


def orientation_of(image: Image.Image) -> int:
    """The orientation tag of an image, in 1..8; 1 where there is none or a wrong one.

    Raises:
        Exception: Of nearly every type: a PNG, which has to be decoded for it, is damaged.
    """
    if image.format == 'PNG':
        image.load()
    try:
        tag = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata do no harm to the pixels
        return 1
    return tag if tag in _TO_UPRIGHT else 1


def oriented(image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image | None:
    """Decode an image in the orientation that its annotations are for.

    Without annotations, images are upright. The size that annotations state says which pixels they
    count: those as stored where it fits them, else those of the upright image. Where it fits both
    (turned by 180 degrees, mirrored, square) they are as stored.

    Args:
        image: Just opened, not decoded yet.
        size: Width and height in pixels that the annotations are for.

    Returns:
        Image | None: None where neither fits.
    """
    tag = orientation_of(image)
    image.load()
    if tag == 1:
        return image if size in (None, image.size) else None
    turned = orientation_of(image) != tag  # Pillow turns TIFFs itself
    if size is None:
        return image if turned else image.transpose(_TO_UPRIGHT[tag])
    stored = image.transpose(_TO_STORED[tag]) if turned else image
    if stored.size == size:
        return stored
    upright = image if turned else image.transpose(_TO_UPRIGHT[tag])
    return upright if upright.size == size else None


def describe_sizes(
    path: str, found: Sequence[int], stated: Sequence[int], mask: str | None = None
) -> str:
    """One line about an image that does not have the size of its annotations."""
    if mask:
        return f'mask {mask} is {stated[0]} x {stated[1]} pixels, its image {found[0]} x {found[1]}'
    return (
        f'image {path} is {found[0]} x {found[1]} pixels, its annotations are for {stated[0]} x '
        f'{stated[1]}'
    )

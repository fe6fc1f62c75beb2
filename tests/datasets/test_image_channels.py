"""Images of other channels than RGB: read whole, or refused in one line."""

import io

import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets.image_channels import decode_channels, image_size, scale_channels
from flsl_mm.datasets.image_files import IMAGE_EXTENSIONS, find_names
from flsl_mm.datasets.labeled_images import read_image
from flsl_mm.datasets.transforms import LoadRGBImage
from flsl_mm.datasets.transforms.load_fitting_image import LoadFittingImage
from flsl_mm.utils.errors import DataError

tifffile = pytest.importorskip('tifffile')
HEIGHT, WIDTH = 20, 30
RNG = np.random.default_rng(0)


def bands(channels, kind=np.uint8):
    """Noise of all values of 8 bits, a first pixel of 0 and a last one of 255 in each channel."""
    levels = RNG.integers(0, 256, (HEIGHT, WIDTH, channels))
    levels[0, :4], levels[-1, -4:] = 0, 255
    return levels.astype(kind)


def tiff(levels, **options):
    file = io.BytesIO()
    if options.get('planarconfig') == 'separate':
        levels = np.moveaxis(levels, -1, 0)
    options = {'photometric': 'minisblack', 'planarconfig': 'contig', **options}
    tifffile.imwrite(file, levels, **options)
    return file.getvalue()


def array(levels):
    file = io.BytesIO()
    np.save(file, levels)
    return file.getvalue()


def picture(image, name):
    file = io.BytesIO()
    image.save(file, name)
    return file.getvalue()


def load(content, path, **settings):
    path.write_bytes(content)
    return LoadRGBImage(**settings)(dict(img_path=str(path)))['img']


WAYS = {
    'one after the other': dict(planarconfig='contig'),
    'each by itself': dict(planarconfig='separate'),
    'compressed': dict(planarconfig='contig', compression='zlib'),
    'in tiles': dict(planarconfig='contig', tile=(16, 16)),
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('channels', [1, 2, 4, 5, 13])
@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.int16, np.float32])
def test_every_layout_of_a_tiff_gives_its_channels(way, channels, kind):
    levels = bands(channels)
    stored = levels if kind == np.uint8 else (levels * 3.0 - 100 * (kind != np.uint16)).astype(kind)
    if channels == 1:
        way, stored = 'one after the other', stored[..., 0]
    pixels = decode_channels(tiff(stored, **WAYS[way]), channels)
    assert pixels.dtype == np.uint8 and pixels.shape == (HEIGHT, WIDTH, channels)
    assert np.abs(pixels.astype(int) - levels).max() <= (0 if kind == np.uint8 else 1)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_gray_whose_white_is_zero_is_not_read_as_a_negative(kind):
    levels = bands(1)
    stored = (255 - levels[..., 0]).astype(kind) * (257 if kind == np.uint16 else 1)
    pixels = decode_channels(tiff(stored.astype(kind), photometric='miniswhite'), 1)
    assert np.abs(pixels.astype(int) - levels).max() <= (kind != np.uint8)


def test_inks_are_not_taken_for_four_channels():
    content = picture(Image.fromarray(bands(4), 'CMYK'), 'TIFF')
    with pytest.raises(ValueError, match='CMYK'):
        decode_channels(content, 4)
    assert decode_channels(tiff(bands(4)), 4).shape[2] == 4


@pytest.mark.parametrize('way', WAYS)
def test_the_header_of_a_tiff_tells_its_size(way, tmp_path):
    path = tmp_path / 'a.tif'
    path.write_bytes(tiff(bands(5), **WAYS[way]))
    assert image_size(path) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    'rest', [b'', b'\xff' * 100, b'\x08\0\0\0' + b'\0' * 100], ids=['none', 'beyond', 'empty']
)
def test_a_damaged_header_of_a_tiff_is_an_error_of_that_file(rest, tmp_path):
    path = tmp_path / 'a.tif'
    path.write_bytes(b'II*\0' + rest)
    with pytest.raises(ValueError, match='damaged TIFF'):
        image_size(path)


@pytest.mark.parametrize('order', 'CF')
def test_arrays_give_their_channels(order, tmp_path):
    levels = bands(6)
    path = tmp_path / 'a.npy'
    assert np.array_equal(load(array(np.array(levels, order=order)), path, channels=6), levels)
    assert image_size(path) == (WIDTH, HEIGHT)
    gray = load(array(levels[..., 0]), path)  # a network for RGB takes gray as ever
    assert np.array_equal(gray, levels[..., :1].repeat(3, axis=2))
    assert np.array_equal(load(array(levels[..., 0]), path, channels=1), levels[..., :1])
    assert np.array_equal(load(array(levels[..., :3]), path), levels[..., :3])


def test_pictures_of_one_two_and_four_channels_are_read_as_they_are(tmp_path):
    levels, path = bands(4), tmp_path / 'a.png'
    for mode, channels in dict(L=1, LA=2, RGBA=4).items():
        pixels = levels[..., 0] if channels == 1 else levels[..., :channels]
        content = picture(Image.fromarray(pixels, mode), 'PNG')
        assert np.array_equal(load(content, path, channels=channels), np.atleast_3d(pixels))
    bits = picture(Image.fromarray(levels[..., 0] > 127), 'PNG')
    assert np.array_equal(load(bits, path, channels=1)[..., 0], (levels[..., 0] > 127) * 255)


def test_pages_are_channels_where_as_many_are_wanted():
    pages = tiff(np.moveaxis(bands(4), -1, 0), planarconfig=None)
    assert tifffile.TiffFile(io.BytesIO(pages)).pages[0].samplesperpixel == 1
    assert decode_channels(pages, 4).shape == (HEIGHT, WIDTH, 4)
    assert decode_channels(pages, 1, choose=lambda number: number - 1).shape[2] == 1
    with pytest.raises(ValueError, match='a TIFF of 4 pages'):
        decode_channels(pages, 1)


def test_colors_are_scaled_together_and_other_channels_by_themselves():
    levels = bands(5).astype(np.float64)
    levels[..., 1] /= 2  # green is darker
    units = levels * [10, 10, 10, 1e-6, 1e6] + [0, 0, 0, 7, -3e8]
    scaled = scale_channels(units).astype(int)
    assert np.abs(scaled - levels).max() <= 1
    stated = scale_channels(levels * 16, (0, 4080))
    assert np.abs(stated.astype(int) - levels).max() <= 1


def test_an_own_range_is_never_near_black():
    thermal = np.full((HEIGHT, WIDTH), 29000, np.uint16)
    thermal[5:9, 5:9] += 300
    mixed = np.dstack([bands(3).astype(np.uint16), thermal])
    pixels = decode_channels(array(mixed), 4)
    assert pixels[..., :3].mean() > 100 and pixels[..., 3].max() == 255


HOSTILE = {
    'fewer channels': (tiff(bands(2)), 'it has 2 channels, and 4 are wanted'),
    'more channels': (tiff(bands(5)), 'it has 5 channels, and 4 are wanted'),
    'RGB': (picture(Image.fromarray(bands(3)), 'JPEG'), 'it has 3 channels, and 4 are wanted'),
    'gray': (picture(Image.fromarray(bands(3)[..., 0]), 'PNG'), 'it has 1 channel, and 4'),
    'CMYK': (
        picture(Image.fromarray(bands(3)).convert('CMYK'), 'JPEG'),
        'it has 3 channels, and 4 are wanted',
    ),
    'palette': (
        picture(Image.fromarray(bands(3)).quantize(16), 'PNG'),
        'it has 3 channels, and 4 are wanted',
    ),
    'gray and transparency': (
        picture(Image.fromarray(bands(2), 'LA'), 'PNG'),
        'it has 2 channels, and 4 are wanted',
    ),
    'channels first': (array(np.moveaxis(bands(4), -1, 0)), f'it has {WIDTH} channels'),
    'four axes': (array(bands(4)[None]), 'an array 1 x 20 x 30 x 4: an image is'),
    'complex numbers': (array(bands(4, np.complex64)), 'an array of complex64, not of numbers'),
    'objects': (array(np.array([[None]])), 'an array of object, not of numbers'),
    'no pixels': (array(bands(4)[:0]), 'an array 0 x 30 x 4'),
    'half an array': (array(bands(4))[:-50], 'the file is truncated'),
    'no number': (array(np.full((4, 4, 4), np.nan)), 'no pixel is a finite number'),
    'one channel of no number': (
        array(np.dstack([bands(3, np.float32), np.full((HEIGHT, WIDTH), np.nan)])),
        'no pixel is a finite number',
    ),
    'huge values': (
        array(np.linspace(-1.7, 1.7, 64).reshape(4, 4, 4) * 1e308),
        'are too far apart to be scaled',
    ),
    'far more pixels than bytes': (
        tiff(np.zeros((9000, 9000, 4), np.uint8), compression='zlib', rowsperstrip=9000),
        'not decoded',
    ),
    'half a TIFF': (tiff(bands(4))[:-500], ''),
    'nothing': (b'', 'no image of a known format'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_other_files_are_refused_in_one_line(name, tmp_path):
    content, message = HOSTILE[name]
    with pytest.raises(OSError) as caught:
        load(content, tmp_path / 'file', channels=4)
    assert message in str(caught.value) and '\n' not in str(caught.value)
    (tmp_path / 'file').write_bytes(content)
    with pytest.raises(DataError, match=str(tmp_path)):
        read_image(str(tmp_path / 'file'), channels=4)


@pytest.mark.parametrize('channels', [2, 4, 5])
@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('kind', [np.uint8, np.uint16, np.float32])
def test_channels_are_never_dropped_to_make_rgb(channels, planar, kind, tmp_path):
    content = tiff(bands(channels, kind), planarconfig=planar)
    with pytest.raises(OSError, match=f'it has {channels} channels, and 3 are wanted'):
        load(content, tmp_path / 'a.tif')
    with pytest.raises(DataError, match='and 3 are wanted'):
        LoadFittingImage()(dict(img_path=str(tmp_path / 'a.tif')))
    infrared = tiff(bands(4), photometric='rgb', extrasamples=[0])
    with pytest.raises(OSError, match='it has 4 channels, and 3'):
        load(infrared, tmp_path / 'a.tif')
    transparent = tiff(bands(4), photometric='rgb', extrasamples=['unassalpha'])
    assert load(transparent, tmp_path / 'a.tif').shape[2] == 3


@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('kind', [np.int16, np.uint16, np.float32])
def test_colors_that_pillow_does_not_know_are_read_for_rgb(planar, kind, tmp_path):
    levels = bands(3)
    content = tiff(levels.astype(kind), photometric='rgb', planarconfig=planar)
    assert np.abs(load(content, tmp_path / 'a.tif').astype(int) - levels).max() <= 1


def test_some_pixels_that_are_no_numbers_are_black():
    levels = bands(4, np.float32)
    levels[3, 3] = np.nan
    assert (decode_channels(array(levels), 4)[3, 3] == 0).all()


def test_a_constant_channel_is_read():
    levels = bands(4, np.uint16)
    levels[..., 3] = 700
    assert (decode_channels(array(levels), 4)[..., 3] == 0).all()


def test_detectors_get_blue_first_and_the_rest_as_it_is(tmp_path):
    levels = bands(5)
    path = tmp_path / 'a.npy'
    path.write_bytes(array(levels))
    found = LoadFittingImage(color_type='unchanged')(
        dict(img_path=str(path), width=WIDTH, height=HEIGHT)
    )
    assert np.array_equal(found['img'], levels[..., [2, 1, 0, 3, 4]])
    with pytest.raises(DataError, match='its annotations are for 9 x 9'):
        LoadFittingImage(color_type='unchanged')(dict(img_path=str(path), width=9, height=9))


def test_arrays_are_images_where_there_are_no_others(tmp_path, caplog):
    for name in ('b.npy', 'a.NPY'):
        (tmp_path / name).touch()
    assert list(find_names(str(tmp_path), IMAGE_EXTENSIONS)) == ['a.NPY', 'b.npy']
    (tmp_path / 'c.jpg').touch()
    assert list(find_names(str(tmp_path), IMAGE_EXTENSIONS)) == ['c.jpg']
    assert list(find_names(str(tmp_path), ('.jpg',))) == ['c.jpg']
    every = list(find_names(str(tmp_path), (*IMAGE_EXTENSIONS, '.npy')))
    assert every == ['a.NPY', 'b.npy', 'c.jpg']

import warnings

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from flsl_mm.datasets.transforms import LoadRGBImage
from flsl_mm.datasets.transforms.load_fitting_image import LoadFittingImage
from flsl_mm.utils.errors import ConfigError

WIDTH, HEIGHT = 40, 24
RAMP = np.linspace(0, 255, WIDTH).astype(np.uint8)
GRAY = np.repeat(RAMP[None], HEIGHT, axis=0)  # dark on the left
COLOR = np.stack([GRAY, GRAY[:, ::-1], np.full_like(GRAY, 60)], axis=2)


def load(path, **settings):
    warnings.simplefilter('error')
    results = LoadRGBImage(**settings)(dict(img_path=str(path)))
    assert results['img'].dtype == np.uint8 and results['reduction'] == 1
    assert results['img'].shape == (*results['ori_shape'], 3)
    return results['img'].astype(int)


def rgba(colors=COLOR):
    alpha = np.tile(np.array([0, 255], np.uint8), (HEIGHT, WIDTH // 2))
    return Image.fromarray(np.dstack([colors, alpha]))


def palette(transparent):
    image = Image.fromarray(COLOR).quantize(256)
    if transparent:
        image.info['transparency'] = bytes(range(256))
    return image


CASES = {
    'rgb.png': (Image.fromarray(COLOR), COLOR, 0),
    'rgb.jpg': (Image.fromarray(COLOR), COLOR, 12),
    'gray.png': (Image.fromarray(GRAY), np.dstack([GRAY] * 3), 0),
    'gray.jpg': (Image.fromarray(GRAY), np.dstack([GRAY] * 3), 3),
    'gray_alpha.png': (Image.fromarray(GRAY).convert('LA'), np.dstack([GRAY] * 3), 0),
    'bilevel.png': (Image.fromarray(GRAY > 127), np.dstack([(GRAY > 127) * 255] * 3), 0),
    'rgba.png': (rgba(), COLOR, 0),
    'palette.png': (palette(False), COLOR, 12),
    'palette_transparent.png': (palette(True), COLOR, 12),
    'cmyk.jpg': (Image.fromarray(COLOR).convert('CMYK'), COLOR, 12),
    'gray16.png': (Image.fromarray(GRAY.astype(np.uint16) * 257), np.dstack([GRAY] * 3), 0),
    'gray16.tif': (Image.fromarray(GRAY.astype(np.uint16) * 257), np.dstack([GRAY] * 3), 0),
    'color.webp': (Image.fromarray(COLOR), COLOR, 25),
    'color.bmp': (Image.fromarray(COLOR), COLOR, 0),
    'one_pixel.png': (Image.fromarray(COLOR[:1, :1]), COLOR[:1, :1], 0),
}


@pytest.mark.parametrize('name', CASES)
def test_every_kind_of_file_gives_its_colors(tmp_path, name):
    image, expected, tolerance = CASES[name]
    image.save(tmp_path / name)
    assert np.abs(load(tmp_path / name) - expected).max() <= tolerance
    # no side is large enough for a smaller decoding
    assert np.array_equal(load(tmp_path / name, min_side=30), load(tmp_path / name))


@pytest.mark.parametrize('name', CASES)
def test_the_content_of_a_file_gives_the_same_as_the_file(tmp_path, name):
    CASES[name][0].save(tmp_path / name)
    results = dict(img_path=f'a.tar/{name}', img_bytes=(tmp_path / name).read_bytes())
    results = LoadRGBImage()(results)
    assert np.array_equal(results['img'], load(tmp_path / name))
    assert 'img_bytes' not in results


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    # how a camera stores the upright image for each value of the tag
    stored = {
        1: COLOR,
        2: COLOR[:, ::-1],
        3: COLOR[::-1, ::-1],
        4: COLOR[::-1],
        5: COLOR.transpose(1, 0, 2),
        6: np.rot90(COLOR, 1),
        7: COLOR[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOR, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'rotated.png'
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.array_equal(load(path), COLOR)


DEEP = {
    '12 bits in 16.png': GRAY.astype(np.uint16) * 16,
    '16 bits.tif': GRAY.astype(np.uint16) * 257,
    'dark.png': GRAY.astype(np.uint16),
    '32 bits.tif': GRAY.astype(np.int32) * 70_000,
    'signed.tif': GRAY.astype(np.int32) - 1000,
    'float.tif': GRAY.astype(np.float32) / 255,
    'temperature.tif': GRAY.astype(np.float32) * 0.1 + 280,
}


@pytest.mark.parametrize('name', DEEP)
def test_grayscale_of_many_bits_is_scaled_by_its_own_range(tmp_path, name):
    Image.fromarray(DEEP[name]).save(tmp_path / name)
    assert np.abs(load(tmp_path / name) - GRAY[..., None]).max() <= 1


@pytest.mark.parametrize('name', ['color.png', 'color.tif', 'transparent.png'])
@pytest.mark.parametrize('factor', [1, 16, 257])
def test_color_of_16_bits_is_scaled_too(tmp_path, name, factor):
    bgr = COLOR[..., ::-1].astype(np.uint16) * factor
    if name.startswith('transparent'):
        bgr = np.dstack([bgr, np.full_like(bgr[..., 0], 9)])
    cv2.imwrite(str(tmp_path / name), bgr)
    assert np.abs(load(tmp_path / name) - COLOR).max() <= 1
    fitting = LoadFittingImage()(dict(img_path=str(tmp_path / name)))['img']
    assert np.abs(fitting[..., ::-1].astype(int) - COLOR).max() <= 1


def test_a_stated_range_keeps_images_comparable(tmp_path):
    for name, factor in (('a.tif', 16), ('b.tif', 8)):
        Image.fromarray(GRAY.astype(np.uint16) * factor).save(tmp_path / name)
        expected = GRAY[..., None] * (factor / 16)
        found = load(tmp_path / name, value_range=(0, 4080))
        assert np.abs(found - expected).max() <= 0.5
    assert load(tmp_path / 'a.tif', value_range=(0, 100)).max() == 255
    for wrong in ((5, 5), (9, 2), (1, 2, 3)):
        with pytest.raises(ConfigError, match='value_range must be'):
            LoadRGBImage(value_range=wrong)


@pytest.mark.parametrize('name', DEEP)
def test_many_bits_are_scaled_for_networks_of_one_channel_too(tmp_path, name):
    Image.fromarray(DEEP[name]).save(tmp_path / name)
    found = LoadFittingImage(color_type='grayscale')(dict(img_path=str(tmp_path / name)))['img']
    assert found.shape == GRAY.shape and np.abs(found.astype(int) - GRAY).max() <= 1


def test_hot_pixels_and_what_is_no_number_do_not_darken_an_image(tmp_path):
    levels = np.repeat(np.repeat(GRAY, 4, 0), 4, 1).astype(np.float32)
    levels[0, :5] = 1e9
    levels[1, :4] = np.nan, np.inf, -np.inf, np.nan
    Image.fromarray(levels).save(tmp_path / 'hot.tif')
    found = load(tmp_path / 'hot.tif')[8:, :, 0]
    assert np.abs(found - levels[8:]).max() <= 1
    Image.fromarray(np.full((4, 5), np.nan, np.float32)).save(tmp_path / 'none.tif')
    with pytest.raises(OSError, match='no pixel is a finite number'):
        load(tmp_path / 'none.tif')


def test_of_several_pages_one_is_drawn_where_images_are_drawn_at_random(tmp_path):
    pages = [Image.fromarray(np.full((8, 9, 3), level, np.uint8)) for level in (10, 120, 240)]
    pages[0].save(tmp_path / 'pages.tif', save_all=True, append_images=pages[1:])
    with pytest.raises(OSError, match='a TIFF of 3 pages: here an image is one page'):
        load(tmp_path / 'pages.tif')
    rng = np.random.default_rng(0)
    path = str(tmp_path / 'pages.tif')
    drawn = [LoadRGBImage()(dict(img_path=path, rng=rng))['img'].max() for _ in range(20)]
    assert set(drawn) == {10, 120, 240}


def large(height, width, mode='RGB'):
    """Soft shapes, as a camera's pictures have at the scale of pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.BICUBIC).convert(mode)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('height, width, reduction', [(99, 300, 1), (100, 251, 2), (403, 800, 8)])
def test_large_jpegs_are_decoded_smaller_down_to_a_side(tmp_path, mode, height, width, reduction):
    large(height, width, mode).save(tmp_path / 'a.jpg', quality=95)
    results = LoadRGBImage(min_side=50)(dict(img_path=str(tmp_path / 'a.jpg')))
    assert results['reduction'] == reduction and results['ori_shape'] == (height, width)
    assert results['img'].shape == (-(-height // reduction), -(-width // reduction), 3)
    assert min(results['img'].shape[:2]) >= 50
    whole = LoadRGBImage()(dict(img_path=str(tmp_path / 'a.jpg')))['img']
    whole = np.asarray(Image.fromarray(whole).reduce(reduction))
    gap = np.abs(whole.astype(int) - results['img'])
    assert gap.mean() < 1 and gap.max() < 12


JPEGS = {
    'half colors': dict(subsampling=2),
    'full colors': dict(subsampling=0),
    'progressive': dict(progressive=True),
    'stored as RGB': dict(keep_rgb=True, subsampling=0),
    'optimized': dict(optimize=True, quality=30),
}


@pytest.mark.parametrize('reduction', [1, 2, 4, 8])
@pytest.mark.parametrize('mode, kind', [('L', 'optimized'), *(('RGB', kind) for kind in JPEGS)])
def test_pixels_are_pil_s(tmp_path, mode, kind, reduction):
    width, height = 331, 203
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.blend(large(height, width), Image.fromarray(noise), 0.2).convert(mode)
    image.save(tmp_path / 'a.jpg', **JPEGS[kind])
    with Image.open(tmp_path / 'a.jpg') as image:
        image.draft(None, (width // reduction, height // reduction))
        expected = np.asarray(image.convert('RGB'))
    min_side = height // reduction
    found = LoadRGBImage(min_side)(dict(img_path=str(tmp_path / 'a.jpg')))
    assert found['reduction'] == reduction and np.array_equal(found['img'], expected)


def test_what_pil_bears_with_is_read(tmp_path):
    large(60, 80).save(tmp_path / 'a.jpg', comment=b'camera')
    content = (tmp_path / 'a.jpg').read_bytes()
    start = content.index(b'\xff\xda')
    content = content[:start] + b'\x00\x00\x00' + content[start:]  # libjpeg warns of it
    with pytest.raises(ValueError):
        simplejpeg.decode_jpeg(content)
    found = LoadRGBImage()(dict(img_path='a.jpg', img_bytes=content))['img']
    assert np.array_equal(found, load(tmp_path / 'a.jpg'))


def test_a_rotated_jpeg_is_decoded_smaller_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    large(200, 336).save(tmp_path / 'a.jpg', exif=exif, quality=95)
    whole = LoadRGBImage()(dict(img_path=str(tmp_path / 'a.jpg')))
    small = LoadRGBImage(min_side=50)(dict(img_path=str(tmp_path / 'a.jpg')))
    assert small['ori_shape'] == whole['ori_shape'] == (336, 200)
    assert small['reduction'] == 4 and small['img'].shape == (84, 50, 3)
    whole = Image.fromarray(whole['img']).resize((50, 84), Image.BOX)
    gap = np.asarray(whole).astype(int) - small['img']
    assert np.abs(gap).mean() < 1


def test_other_formats_are_decoded_whole(tmp_path):
    large(400, 400).save(tmp_path / 'a.png')
    assert LoadRGBImage(min_side=50)(dict(img_path=str(tmp_path / 'a.png')))['reduction'] == 1


def test_a_side_without_pixels_is_refused():
    with pytest.raises(ValueError, match='LoadRGBImage: min_side'):
        LoadRGBImage(min_side=0)


def broken_files(folder):
    Image.fromarray(COLOR).resize((300, 200)).save(folder / 'whole.jpg')
    data = (folder / 'whole.jpg').read_bytes()
    (folder / 'truncated.jpg').write_bytes(data[: len(data) // 2])
    (folder / 'empty.jpg').write_bytes(b'')
    (folder / 'text.jpg').write_text('not found')
    Image.fromarray(COLOR).save(folder / 'whole.png')
    png = bytearray((folder / 'whole.png').read_bytes())
    png[60:80] = b'x' * 20
    (folder / 'damaged.png').write_bytes(png)


@pytest.mark.parametrize(
    'name', ['truncated.jpg', 'empty.jpg', 'text.jpg', 'damaged.png', 'missing.jpg']
)
def test_a_file_that_is_no_whole_image_is_an_os_error_with_a_reason(tmp_path, name):
    broken_files(tmp_path)
    with pytest.raises(OSError, match='Error: .+'):
        load(tmp_path / name)


def test_a_decompression_bomb_is_an_os_error(tmp_path, monkeypatch):
    Image.fromarray(COLOR).save(tmp_path / 'bomb.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    with pytest.raises(OSError, match='DecompressionBombError'):
        load(tmp_path / 'bomb.png')

import warnings

import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets.transforms import LoadRGBImage

WIDTH, HEIGHT = 40, 24
RAMP = np.linspace(0, 255, WIDTH).astype(np.uint8)
GREY = np.repeat(RAMP[None], HEIGHT, axis=0)  # dark on the left
COLOUR = np.stack([GREY, GREY[:, ::-1], np.full_like(GREY, 60)], axis=2)


def load(path):
    warnings.simplefilter('error')
    results = LoadRGBImage()(dict(img_path=str(path)))
    assert results['img'].mode == 'RGB'
    assert results['ori_shape'] == results['img'].size[::-1]
    return np.asarray(results['img']).astype(int)


def rgba(colours=COLOUR):
    alpha = np.tile(np.array([0, 255], np.uint8), (HEIGHT, WIDTH // 2))
    return Image.fromarray(np.dstack([colours, alpha]))


def palette(transparent):
    image = Image.fromarray(COLOUR).quantize(256)
    if transparent:
        image.info['transparency'] = bytes(range(256))
    return image


CASES = {
    'rgb.png': (Image.fromarray(COLOUR), COLOUR, 0),
    'rgb.jpg': (Image.fromarray(COLOUR), COLOUR, 12),
    'grey.png': (Image.fromarray(GREY), np.dstack([GREY] * 3), 0),
    'grey.jpg': (Image.fromarray(GREY), np.dstack([GREY] * 3), 3),
    'grey_alpha.png': (Image.fromarray(GREY).convert('LA'), np.dstack([GREY] * 3), 0),
    'bilevel.png': (Image.fromarray(GREY > 127), np.dstack([(GREY > 127) * 255] * 3), 0),
    'rgba.png': (rgba(), COLOUR, 0),
    'palette.png': (palette(False), COLOUR, 12),
    'palette_transparent.png': (palette(True), COLOUR, 12),
    'cmyk.jpg': (Image.fromarray(COLOUR).convert('CMYK'), COLOUR, 12),
    'grey16.png': (Image.fromarray(GREY.astype(np.uint16) * 257), np.dstack([GREY] * 3), 0),
    'grey16.tif': (Image.fromarray(GREY.astype(np.uint16) * 257), np.dstack([GREY] * 3), 0),
    'colour.webp': (Image.fromarray(COLOUR), COLOUR, 25),
    'colour.bmp': (Image.fromarray(COLOUR), COLOUR, 0),
    'one_pixel.png': (Image.fromarray(COLOUR[:1, :1]), COLOUR[:1, :1], 0),
}


@pytest.mark.parametrize('name', CASES)
def test_every_kind_of_file_gives_its_colours(tmp_path, name):
    image, expected, tolerance = CASES[name]
    image.save(tmp_path / name)
    assert np.abs(load(tmp_path / name) - expected).max() <= tolerance


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    # how a camera stores the upright image for each value of the tag
    stored = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.transpose(1, 0, 2),
        6: np.rot90(COLOUR, 1),
        7: COLOUR[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOUR, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'rotated.png'
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.array_equal(load(path), COLOUR)


def test_dark_16_bit_images_stay_dark(tmp_path):
    Image.fromarray(GREY.astype(np.uint16)).save(tmp_path / 'dark.png')
    assert load(tmp_path / 'dark.png').max() == 1


def broken_files(folder):
    Image.fromarray(COLOUR).resize((300, 200)).save(folder / 'whole.jpg')
    data = (folder / 'whole.jpg').read_bytes()
    (folder / 'truncated.jpg').write_bytes(data[: len(data) // 2])
    (folder / 'empty.jpg').write_bytes(b'')
    (folder / 'text.jpg').write_text('not found')
    Image.fromarray(COLOUR).save(folder / 'whole.png')
    png = bytearray((folder / 'whole.png').read_bytes())
    png[60:80] = b'x' * 20
    (folder / 'damaged.png').write_bytes(png)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / 'float.tif')


@pytest.mark.parametrize(
    'name', ['truncated.jpg', 'empty.jpg', 'text.jpg', 'damaged.png', 'float.tif', 'missing.jpg']
)
def test_a_file_that_is_no_whole_image_is_an_os_error_with_a_reason(tmp_path, name):
    broken_files(tmp_path)
    with pytest.raises(OSError, match='Error: .+'):
        load(tmp_path / name)


def test_a_decompression_bomb_is_an_os_error(tmp_path, monkeypatch):
    Image.fromarray(COLOUR).save(tmp_path / 'bomb.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    with pytest.raises(OSError, match='DecompressionBombError'):
        load(tmp_path / 'bomb.png')

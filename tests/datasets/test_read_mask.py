import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets.mask_files import read_mask
from flsl_mm.utils.errors import DataError


@pytest.mark.parametrize('mode', ['P', 'L'])
def test_a_mask_is_the_values_of_its_file_not_the_colors_of_its_palette(mode, tmp_path):
    image = Image.new(mode, (3, 2), 7)
    if mode == 'P':
        image.putpalette([0, 0, 0] * 7 + [255, 0, 0])
    image.save(tmp_path / 'mask.png')
    mask = read_mask(tmp_path / 'mask.png')
    assert mask.dtype == np.uint8 and mask.tolist() == [[7, 7, 7], [7, 7, 7]]


@pytest.mark.parametrize('mode', ['1', 'LA', 'RGB', 'RGBA', 'I;16'])
def test_an_image_of_another_kind_is_no_mask(mode, tmp_path):
    Image.new(mode, (3, 2)).save(tmp_path / 'mask.png')
    with pytest.raises(DataError, match='mask .*mask.png is of .* mode .*: masks have 8 bits'):
        read_mask(tmp_path / 'mask.png')


def test_a_damaged_mask_is_named(tmp_path):
    (tmp_path / 'mask.png').write_bytes(b'nothing')
    with pytest.raises(DataError, match='mask .*mask.png cannot be read: UnidentifiedImageError'):
        read_mask(tmp_path / 'mask.png')

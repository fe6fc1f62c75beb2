import numpy as np
import pytest

from flsl_mm.utils.errors import DataError
from flsl_mm.visualization.images import (
    find_image_files,
    long_image_note,
    read_pixels,
    resize_short_side,
)
from flsl_mm.visualization.masks import find_mask, resize_mask


def test_files_and_folders_of_images_are_found(image_folder):
    [one] = image_folder.glob('class1/1.png')
    found = find_image_files([str(one), str(image_folder / 'class0')])
    assert found[0] == str(one) and len(found) == 7


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match='there is no image or folder .*absent'):
        find_image_files([str(tmp_path / 'absent')])


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(DataError, match=f'no images found in {tmp_path}'):
        find_image_files([str(tmp_path)])


def test_an_unreadable_image_is_named(tmp_path):
    path = tmp_path / 'broken.png'
    path.write_bytes(b'no image')
    with pytest.raises(DataError, match='broken.png cannot be read as an image'):
        read_pixels(str(path))


@pytest.mark.parametrize('size', [(30, 60), (60, 30)])
def test_the_short_side_is_resized_and_the_proportions_stay(size):
    image = resize_short_side(np.zeros((*size, 3), dtype=np.uint8), 16)
    assert sorted(image.shape) == [3, 16, 32]
    assert long_image_note('a.png', image, 16) == ''


@pytest.mark.parametrize(
    'size, expected', [((20, 400), (3, 64)), ((400, 20), (64, 3)), ((1, 900), (1, 64))]
)
def test_a_panorama_gets_at_most_four_times_the_short_side(size, expected):
    image = resize_short_side(np.zeros((*size, 3), dtype=np.uint8), 16)
    assert image.shape == (*expected, 3)
    note = long_image_note('a.png', image, 16)
    assert f'a.png is more than 4 times as long as wide: resized to {expected[1]} x' in note


def test_a_mask_is_found_in_the_same_subfolder_or_without_any(tmp_path):
    for name in ('bear/0.png', '0.png', '1.png'):
        path = tmp_path / 'masks' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    masks = str(tmp_path / 'masks')
    assert find_mask('JPEGImages/bear/0.jpg', masks) == tmp_path / 'masks/bear/0.png'
    assert find_mask('JPEGImages/bear/1.jpg', masks) == tmp_path / 'masks/1.png'
    with pytest.raises(DataError, match='no mask for bear/2.jpg'):
        find_mask('bear/2.jpg', masks)
    with pytest.raises(DataError, match='there is no folder of masks absent'):
        find_mask('bear/2.jpg', 'absent')


def test_resizing_a_mask_keeps_its_labels():
    mask = np.array([[1, 7], [7, 1]])
    np.testing.assert_array_equal(resize_mask(mask, (4, 6)), mask.repeat(2, 0).repeat(3, 1))
    np.testing.assert_array_equal(resize_mask(mask.repeat(2, 0).repeat(3, 1), (2, 2)), mask)

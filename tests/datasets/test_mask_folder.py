import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets import MaskFolder
from flsl_mm.utils.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Writes images of 6 x 4 pixels with masks, and reads them."""

    def build(masks: dict[str, np.ndarray], **options) -> MaskFolder:
        for name, mask in masks.items():
            path = tmp_path / 'images' / f'{name}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (6, 4), 'red').save(path)
            if mask is not None:
                path = tmp_path / 'masks' / f'{name}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
        return MaskFolder(str(tmp_path / 'images'), str(tmp_path / 'masks'), **options)

    return build


def mask(fill: int = 0, **regions: tuple) -> np.ndarray:
    values = np.full((4, 6), fill, np.uint8)
    for name, place in regions.items():
        values[place] = int(name[1:])
    return values


LEFT, RIGHT = np.s_[:, :2], np.s_[1:3, 4:]


def test_the_values_are_the_classes_and_255_is_ignored(folder):
    data = folder(dict(a=mask(0, v7=LEFT, v255=RIGHT)))
    labels = data[0].labels
    assert labels[0].tolist() == [7, 7, 0, 0, 0, 0]
    assert labels[1].tolist() == [7, 7, 0, 0, -1, -1]
    assert data.num_classes == 255


def test_reduce_zero_label_is_that_of_mmseg(folder):
    data = folder(dict(a=mask(0, v7=LEFT, v255=RIGHT)), reduce_zero_label=True)
    assert data[0].labels[1].tolist() == [6, 6, -1, -1, -1, -1]
    assert data.num_classes == 254


def test_boxes_are_those_of_connected_regions_of_a_class(folder):
    values = mask(0, v1=LEFT, v2=RIGHT)
    values[3, 3] = 2  # touches the right region at a corner
    data = folder(dict(a=values), object_classes=[1, 2, 9])
    assert data[0].boxes.tolist() == [[0, 0, 2, 4], [3, 1, 6, 4]]
    assert [0, 0, 6, 4] not in data[0].boxes.tolist()
    assert folder({}, object_classes=[9])[0].boxes.shape == (0, 4)


def test_images_are_found_in_subfolders_and_thinned_out_evenly(folder):
    data = folder({f'{city}/{i}': mask() for city in 'ab' for i in range(3)})
    assert len(data) == 6
    paths = [sample[0] for sample in folder({}, max_images=3).samples]
    assert [path[-7:] for path in paths] == ['a/0.jpg', 'a/2.jpg', 'b/1.jpg']
    assert len(folder({}, max_images=99)) == 6


def test_an_image_without_mask_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images in .* no mask, .*masks/b.png'):
        folder(dict(a=mask(), b=None))


def test_missing_and_empty_folders_are_named(tmp_path):
    for name in ('images', 'masks'):
        with pytest.raises(FileNotFoundError, match=f'no folder of {name} '):
            MaskFolder(str(tmp_path / 'images'), str(tmp_path / 'masks'))
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match='no images found under'):
        MaskFolder(str(tmp_path / 'images'), str(tmp_path / 'masks'))


@pytest.mark.parametrize(
    ('values', 'options', 'message'),
    [
        (np.zeros((4, 5), np.uint8), {}, r'a.png is 5 x 4 pixels, its image 6 x 4$'),
        (np.zeros((4, 6, 3), np.uint8), {}, "a.png is of Pillow's mode RGB"),
        (mask(3), dict(num_classes=3), 'unknown labels 3: 0..2 are the classes, 255 ignored'),
        (
            mask(4),
            dict(num_classes=3, reduce_zero_label=True),
            'unknown labels 4: 1..3 are the classes, 0 and 255 ignored',
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_one_line(folder, values, options, message):
    with pytest.raises(DataError, match=message) as error:
        folder(dict(a=values), **options)[0]
    assert '\n' not in str(error.value)


def test_damaged_files_are_named(folder, tmp_path):
    data = folder(dict(a=mask()))
    (tmp_path / 'masks/a.png').write_bytes(b'nothing')
    with pytest.raises(DataError, match='mask .*a.png cannot be read: UnidentifiedImageError'):
        data[0]
    data = folder(dict(a=mask()))
    (tmp_path / 'images/a.jpg').write_bytes(b'nothing')
    with pytest.raises(DataError, match='image .*a.jpg cannot be read: UnidentifiedImageError'):
        data[0]


def test_no_images_are_asked_for(folder):
    with pytest.raises(DataError, match='max_images must be positive, got 0'):
        folder(dict(a=mask()), max_images=0)

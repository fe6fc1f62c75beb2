"""Images with an orientation tag, and annotations of the pixels as stored or upright."""

import json

import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets import InstanceImages, MaskFolder
from flsl_mm.datasets.transforms import LoadRGBImage
from flsl_mm.datasets.transforms.load_fitting_image import LoadFittingImage
from flsl_mm.utils.errors import DataError

# A red upper left corner on blue; each side is a multiple of JPEG's blocks.
UPRIGHT = np.full((32, 64, 3), (0, 0, 255), np.uint8)
UPRIGHT[:16, :16] = (255, 0, 0)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}
FORMATS = dict(jpg=dict(subsampling=0, quality=95), png={}, tif={}, webp=dict(lossless=True))


def save(path, orientation: int, suffix: str):
    path = path / f'a.{suffix}'
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    image.save(path, exif=exif, **FORMATS[suffix])
    return path


def read_all(path, size) -> dict[str, np.ndarray]:
    """What every reader makes of an image whose annotations are for a width and a height."""
    folder = path.parent / 'masks'
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.ones(size[::-1], np.uint8)).save(folder / 'a.png')
    box = dict(id=1, image_id=1, category_id=1, iscrowd=0, area=100, bbox=[2, 2, 10, 10])
    content = dict(
        images=[dict(id=1, file_name=path.name, width=size[0], height=size[1])],
        categories=[dict(id=1, name='a')],
        annotations=[dict(box, segmentation=[[2, 2, 12, 2, 12, 12, 2, 12]])],
    )
    (folder / 'a.json').write_text(json.dumps(content))
    images = path.parent / 'images'
    images.mkdir(exist_ok=True)
    (images / path.name).write_bytes(path.read_bytes())

    def fine_tuning(**stated):
        found = LoadFittingImage()(dict(img_path=str(path), **stated))
        assert found['img'].shape[:2] == found['ori_shape'] == found['img_shape']
        return found['img'][..., ::-1]

    return {
        'sizes in the file': lambda: fine_tuning(width=size[0], height=size[1]),
        'a mask in training': lambda: fine_tuning(seg_map_path=str(folder / 'a.png')),
        'a mask in the dense suite': lambda: np.array(
            MaskFolder(str(images), str(folder))[0].image
        ),
        'instances in the dense suite': lambda: np.array(
            InstanceImages(str(folder / 'a.json'), str(images))[0].image
        ),
    }


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and np.abs(found.astype(int) - expected).max() < 40


@pytest.mark.parametrize('suffix', FORMATS)
@pytest.mark.parametrize('orientation', STORED)
def test_without_annotations_images_are_upright(tmp_path, orientation, suffix):
    path = save(tmp_path, orientation, suffix)
    results = LoadRGBImage()(dict(img_path=str(path)))
    assert same(results['img'], UPRIGHT) and results['ori_shape'] == (32, 64)
    assert same(LoadFittingImage()(dict(img_path=str(path)))['img'][..., ::-1], UPRIGHT)


@pytest.mark.parametrize('suffix', FORMATS)
@pytest.mark.parametrize('orientation', STORED)
def test_the_size_of_the_annotations_says_which_pixels_they_are_for(tmp_path, orientation, suffix):
    path = save(tmp_path, orientation, suffix)
    pixels = STORED[orientation]
    for reader, read in read_all(path, pixels.shape[1::-1]).items():
        assert same(read(), pixels), reader
    if orientation >= 5:
        for reader, read in read_all(path, (64, 32)).items():
            assert same(read(), UPRIGHT), reader


@pytest.mark.parametrize('size', [(32, 64), (128, 64)])
def test_an_image_of_another_size_is_named(tmp_path, size):
    path = save(tmp_path, 1, 'png')
    for read in read_all(path, size).values():
        with pytest.raises(DataError, match=r'a\.png.*64 x 32') as error:
            read()
        assert '\n' not in str(error.value)

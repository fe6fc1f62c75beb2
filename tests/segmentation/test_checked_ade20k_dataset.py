"""ADE20K's folders, as users have them and as they get them wrong."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmseg')
from flsl_mm.segmentation.dataset import CheckedADE20KDataset  # noqa: E402


@pytest.fixture
def root(tmp_path):
    for folder in ('images', 'annotations'):
        (tmp_path / folder).mkdir()
    for name in 'ab':
        Image.new('RGB', (8, 6)).save(tmp_path / f'images/{name}.jpg')
        Image.fromarray(np.ones((6, 8), np.uint8)).save(tmp_path / f'annotations/{name}.png')
    return tmp_path


def build(root):
    folders = dict(img_path='images', seg_map_path='annotations')
    return CheckedADE20KDataset(data_root=str(root), data_prefix=folders)


def test_images_are_listed_with_their_masks(root):
    found = [build(root).get_data_info(i) for i in range(2)]
    assert [data['img_path'] for data in found] == [str(root / f'images/{n}.jpg') for n in 'ab']
    assert [data['seg_map_path'] for data in found] == [
        str(root / f'annotations/{n}.png') for n in 'ab'
    ]


def test_a_missing_mask_is_named(root):
    (root / 'annotations/b.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 2 images .* have no mask, .*/b\.png$'):
        build(root)


@pytest.mark.parametrize('kind, folder', [('images', 'images'), ('masks', 'annotations')])
def test_a_missing_folder_is_named(root, kind, folder):
    (root / folder).rename(root / 'elsewhere')
    with pytest.raises(FileNotFoundError, match=f'no folder of {kind} .*{folder}; set data_root'):
        build(root)


def test_a_folder_without_images_is_an_error(root):
    for path in (root / 'images').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r'no \.jpg images in .*images'):
        build(root)

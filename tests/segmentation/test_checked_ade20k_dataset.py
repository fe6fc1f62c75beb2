"""ADE20K's folders, as users have them and as they get them wrong."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

pytest.importorskip('mmseg')
from flsl_mm.segmentation.dataset import CheckedADE20KDataset  # noqa: E402
from flsl_mm.utils.errors import DataError  # noqa: E402


@pytest.fixture
def root(tmp_path):
    for folder in ('images', 'annotations'):
        (tmp_path / folder).mkdir()
    for name in 'ab':
        Image.new('RGB', (8, 6)).save(tmp_path / f'images/{name}.jpg')
        Image.fromarray(np.ones((6, 8), np.uint8)).save(tmp_path / f'annotations/{name}.png')
    return tmp_path


def build(root, **kwargs):
    folders = dict(img_path='images', seg_map_path='annotations')
    return CheckedADE20KDataset(data_root=str(root), data_prefix=folders, **kwargs)


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


@pytest.mark.parametrize(
    'kind, folder, key',
    [('images', 'images', 'img_path'), ('masks', 'annotations', 'seg_map_path')],
)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_missing_folder_is_named_and_the_setting_of_it(root, kind, folder, key, split):
    (root / folder).rename(root / 'elsewhere')
    entry = rf'{split}_dataloader\.dataset\.data_prefix\.{key} '
    with pytest.raises(FileNotFoundError, match=f'no folder of {kind} .*{folder}: .* {entry}'):
        build(root, test_mode=split == 'val')


def test_a_folder_without_images_is_an_error(root):
    for path in (root / 'images').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r'no images \(\.jpg\) in .*images'):
        build(root)


@pytest.mark.parametrize('values', [[0, 255], [0], [255]])
def test_masks_without_any_labelled_pixel_stop_before_training(root, values):
    mask = np.resize(np.array(values, np.uint8), (6, 8))
    for name in 'ab':
        Image.fromarray(mask).save(root / f'annotations/{name}.png')
    listed = ', '.join(map(str, values))
    with pytest.raises(DataError, match=rf'no pixel of the 2 masks .*a\.png: .* are {listed};'):
        build(root)
    mask[0, 0] = 150
    Image.fromarray(mask).save(root / 'annotations/b.png')
    assert len(build(root)) == 2


def test_the_library_s_names_in_a_pipeline_load_checked_labels(root):
    init_default_scope('mmseg')
    Image.fromarray(np.full((6, 8), 3, np.uint8)).save(root / 'annotations/a.png')
    names = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    dataset = build(root, pipeline=[dict(type=name) for name in names])
    assert (dataset[0]['data_samples'].gt_sem_seg.data == 2).all()
    Image.fromarray(np.full((6, 8), 200, np.uint8)).save(root / 'annotations/a.png')
    with pytest.raises(DataError, match=r'a\.png has labels above 150: 200'):
        dataset[0]


@pytest.mark.parametrize('content', [b'', b'no image'])
def test_a_broken_image_is_named(root, content):
    init_default_scope('mmseg')
    dataset = build(root, pipeline=[dict(type='LoadImageFromFile')])
    (root / 'images/a.jpg').write_bytes(content)
    with pytest.raises(DataError, match=r'failed to load image: .*a\.jpg: '):
        dataset[0]


MASKS = {
    'labels above 150': (np.full((6, 8), 151, np.uint8), 'has labels above 150: 151'),
    'colors': (np.ones((6, 8, 3), np.uint8), 'has 3 channels'),
    'transparency': (np.ones((6, 8, 4), np.uint8), 'has 4 channels'),
    'labels of 16 bits': (np.full((6, 8), 300, np.uint16), 'has labels above 150: 300'),
    'one bit': (np.ones((6, 8), bool), 'has 1 bit'),
}


@pytest.mark.parametrize('case', MASKS)
def test_masks_to_evaluate_are_all_read_before_training(root, case):
    mask, message = MASKS[case]
    Image.fromarray(mask).save(root / 'annotations/b.png')
    build(root)
    with pytest.raises(DataError, match=rf'b\.png {message}'):
        build(root, test_mode=True)


@pytest.mark.parametrize('kind', ['palette', '16 bits', 'gray and alpha'])
def test_masks_of_other_kinds_are_read_for_their_values(root, kind):
    mask = np.full((6, 8), 7, np.uint8)
    image = Image.fromarray(mask.astype(np.uint16) if kind == '16 bits' else mask)
    if kind == 'palette':
        image = Image.fromarray(mask, 'P')
        image.putpalette([200, 10, 10] * 256)
    if kind == 'gray and alpha':
        image = image.convert('LA')
    image.save(root / 'annotations/a.png')
    init_default_scope('mmseg')
    names = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    dataset_of = lambda: build(root, pipeline=[dict(type=n) for n in names], test_mode=True)  # noqa: E731
    if kind == 'gray and alpha':
        with pytest.raises(DataError, match='has 2 channels'):
            dataset_of()
    else:
        assert (dataset_of()[0]['data_samples'].gt_sem_seg.data == 6).all()

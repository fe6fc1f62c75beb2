"""Masks of ADE20K as labels, and masks that are none."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmseg')
from flsl_mm.segmentation.dataset import LoadADE20KLabels  # noqa: E402


@pytest.fixture
def load(tmp_path):
    def load(mask, size=None, **results) -> np.ndarray:
        path = tmp_path / 'mask.png'
        Image.fromarray(mask).save(path, format='TIFF' if mask.dtype.kind == 'f' else 'PNG')
        results.update(seg_map_path=str(path), ori_shape=size or mask.shape[:2], seg_fields=[])
        results = LoadADE20KLabels()(results)
        assert results['seg_fields'] == ['gt_seg_map']
        return results['gt_seg_map']

    return load


def test_classes_count_from_0_and_unlabelled_pixels_are_ignored(load):
    labels = load(np.array([[0, 1, 2], [149, 150, 255]], np.uint8))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[255, 0, 1], [148, 149, 255]]


def test_left_out_classes_are_ignored(load):
    label_map = dict.fromkeys(range(150), 255) | {4: 0, 2: 1}
    mask = np.array([[0, 3, 5, 150]], np.uint8)
    assert load(mask, label_map=label_map).tolist() == [[255, 1, 0, 255]]


def test_a_mask_without_labels_is_all_ignored(load):
    assert (load(np.zeros((4, 5), np.uint8)) == 255).all()


@pytest.mark.parametrize('mask, size, message', [
    (np.array([[1, 151, 200]], np.uint8), None, r'mask\.png has labels above 150: 151, 200;'),
    (np.array([[1, 256]], np.uint16), None, r'mask\.png has labels above 150: 256;'),
    (np.ones((4, 5), bool), None, r'mask\.png has 1 bit for each pixel: masks have 8 bits'),
    (np.ones((4, 5), np.float32), None, r'mask .*mask\.png '),
    (np.ones((4, 5), np.uint8), (5, 4), r'mask\.png is 5 x 4 pixels, its image 4 x 5$'),
    (np.ones((4, 5, 3), np.uint8), None, r'mask\.png has 3 channels: masks have one'),
])  # fmt: skip
def test_wrong_masks_are_errors(load, mask, size, message):
    with pytest.raises(ValueError, match=message):
        load(mask, size)


def test_damaged_and_missing_masks_are_named(tmp_path):
    path = tmp_path / 'mask.png'
    results = dict(seg_map_path=str(path), ori_shape=(4, 5), seg_fields=[])
    with pytest.raises(FileNotFoundError, match=r'mask\.png'):
        LoadADE20KLabels()(results)
    path.write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'mask .*mask\.png is no readable image'):
        LoadADE20KLabels()(results)

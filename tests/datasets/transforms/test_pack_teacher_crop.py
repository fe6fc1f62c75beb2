import numpy as np
import torch
from mmengine.dataset import default_collate

from flsl_mm.datasets.transforms import PackTeacherCrop


def packed():
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    results = dict(
        img=pixels,
        img_path='a.jpg',
        ori_shape=(8, 9),
        teacher_box=(1, 2, 5, 6),
        broken=['b.jpg: empty'],
        rng=np.random.default_rng(0),
    )
    return pixels, PackTeacherCrop()(results)


def test_pixels_leave_the_worker_as_bytes_with_where_they_came_from():
    pixels, sample = packed()
    assert sample['inputs'].dtype == torch.uint8
    assert np.array_equal(sample['inputs'].permute(1, 2, 0).numpy(), pixels)
    assert sample['data_samples'].metainfo == dict(
        img_path='a.jpg', ori_shape=(8, 9), teacher_box=(1, 2, 5, 6), broken=['b.jpg: empty']
    )


def test_samples_collate_to_one_tensor_and_a_list():
    batch = default_collate([packed()[1], packed()[1]])
    assert batch['inputs'].shape == (2, 3, 4, 4) and batch['inputs'].dtype == torch.uint8
    assert [sample.img_path for sample in batch['data_samples']] == ['a.jpg', 'a.jpg']

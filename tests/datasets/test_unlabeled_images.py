import os

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from flsl_mm.datasets import SampleKey, UnlabeledImages
from flsl_mm.utils.errors import DataError

PIPELINE = [
    dict(type='LoadRGBImage'),
    dict(type='RandomTeacherCrop', size=16),
    dict(type='PackTeacherCrop'),
]


def write_images(folder, names):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)


def paths(dataset):
    return [
        os.path.relpath(dataset.get_data_info(i)['img_path'], dataset.data_root)
        for i in range(len(dataset))
    ]


def build(data_root, **settings):
    return UnlabeledImages(data_root=str(data_root), pipeline=PIPELINE, **settings)


def test_it_is_registered_for_mmpretrain_configs(tmp_path):
    write_images(tmp_path, ['a.png'])
    config = dict(type='UnlabeledImages', data_root=str(tmp_path), pipeline=PIPELINE)
    assert len(DATASETS.build(config)) == 1


def test_flat_and_class_folders_are_searched_in_a_fixed_order(tmp_path):
    write_images(tmp_path, ['z.png', 'dog/b.PNG', 'dog/a.jpg', 'cat/deep/c.jpeg', 'a.bmp'])
    (tmp_path / 'notes.txt').write_text('no image')
    assert paths(build(tmp_path)) == ['a.bmp', 'z.png', 'cat/deep/c.jpeg', 'dog/a.jpg', 'dog/b.PNG']


def test_hidden_files_and_folders_are_left_out(tmp_path):
    write_images(tmp_path, ['a.png', '.cache/b.png'])
    (tmp_path / '._a.png').write_bytes(b'macOS writes such files')
    assert paths(build(tmp_path)) == ['a.png']


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    write_images(tmp_path, ['root/a/1.png', 'elsewhere/2.png'])
    (tmp_path / 'root/linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'root/again').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'root/a/loop').symlink_to(tmp_path / 'root')
    assert paths(build(tmp_path / 'root')) == ['a/1.png', 'again/2.png']


@pytest.mark.parametrize('train', ['ILSVRC/Data/CLS-LOC/train', 'Data/CLS-LOC/train', 'train'])
def test_of_an_imagenet_root_only_the_training_images_are_used(tmp_path, train):
    write_images(tmp_path, [f'{train}/n01/a.png', 'val/b.png', 'Data/CLS-LOC/val/c.png'])
    assert paths(build(tmp_path)) == [f'{train}/n01/a.png']


def test_a_list_file_selects_images_and_ignores_labels_and_comments(tmp_path):
    write_images(tmp_path, ['a/1.png', 'b c/2.png', '3.png'])
    (tmp_path / 'list.txt').write_text('# chosen\n3.png\n\nb c/2.png 17\n  a/1.png\t-1\n')
    assert paths(build(tmp_path, ann_file='list.txt')) == ['3.png', 'b c/2.png', 'a/1.png']


def test_other_extensions_can_be_asked_for(tmp_path):
    write_images(tmp_path, ['a.png', 'b.bmp'])
    assert paths(build(tmp_path, extensions=['.BMP'])) == ['b.bmp']


def test_missing_or_empty_sources_are_one_clear_line(tmp_path):
    with pytest.raises(FileNotFoundError, match='data_root is not a folder: .*nowhere'):
        build(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match=r'no images found under .*\.jpg.*set data_root'):
        build(tmp_path)
    with pytest.raises(FileNotFoundError, match='ann_file is not a file: .*list.txt'):
        build(tmp_path, ann_file='list.txt')
    (tmp_path / 'list.txt').write_text('# nothing\n\n')
    with pytest.raises(ValueError, match='ann_file lists no images: .*list.txt'):
        build(tmp_path, ann_file='list.txt')


def test_the_same_key_gives_the_same_bytes_and_another_seed_another_crop(tmp_path):
    write_images(tmp_path, ['a.png', 'b.png'])
    dataset = build(tmp_path)
    first, again = dataset[SampleKey(1, 7)], dataset[SampleKey(1, 7)]
    assert torch.equal(first['inputs'], again['inputs'])
    other = dataset[SampleKey(1, 8)]
    assert other['data_samples'].img_path == first['data_samples'].img_path
    assert not torch.equal(first['inputs'], other['inputs'])


def test_a_plain_index_gives_another_crop_each_time(tmp_path):
    write_images(tmp_path, ['a.png', 'b.png'])
    dataset = build(tmp_path)
    torch.manual_seed(0)
    crops = [dataset[1]['inputs'] for _ in range(2)]
    assert not torch.equal(*crops)
    torch.manual_seed(0)
    assert torch.equal(dataset[1]['inputs'], crops[0])


def test_samples_do_not_depend_on_the_number_of_workers(tmp_path):
    write_images(tmp_path, [f'{i}.png' for i in range(6)])
    keys = [SampleKey(i % 6, 100 + i) for i in range(12)]

    def batches(workers):
        loader = DataLoader(
            build(tmp_path), 4, sampler=keys, num_workers=workers, collate_fn=default_collate
        )
        return list(loader)

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert torch.equal(alone['inputs'], shared['inputs'])
        for a, b in zip(alone['data_samples'], shared['data_samples'], strict=True):
            assert a.metainfo == b.metainfo


def test_a_broken_image_is_replaced_by_the_next_and_reported(tmp_path):
    write_images(tmp_path, ['a.png', 'd.png'])
    (tmp_path / 'b.png').write_bytes(b'')
    (tmp_path / 'c.png').write_text('<html>')
    dataset = build(tmp_path)
    sample = dataset[SampleKey(1, 5)]['data_samples']
    assert sample.img_path == str(tmp_path / 'd.png')
    reason = 'UnidentifiedImageError: no image of a known format'
    assert sample.broken == [(str(tmp_path / name), reason) for name in ('b.png', 'c.png')]
    assert torch.equal(dataset[SampleKey(1, 5)]['inputs'], dataset[SampleKey(3, 5)]['inputs'])
    assert dataset[SampleKey(0, 5)]['data_samples'].broken == []


def test_the_last_image_broken_wraps_to_the_first(tmp_path):
    write_images(tmp_path, ['a.png'])
    (tmp_path / 'list.txt').write_text('a.png\ngone.png\n')
    sample = build(tmp_path, ann_file='list.txt')[1]['data_samples']
    assert sample.img_path == str(tmp_path / 'a.png')
    assert [path for path, _ in sample.broken] == [str(tmp_path / 'gone.png')]


def test_only_broken_images_is_an_error_with_examples(tmp_path):
    (tmp_path / 'list.txt').write_text('gone.png\nlost.png\n')
    dataset = build(tmp_path, ann_file='list.txt')
    with pytest.raises(DataError, match='2 images in a row cannot be read.*gone.png.*lost.png'):
        dataset[0]


def test_a_mistake_in_the_pipeline_is_not_taken_for_a_broken_image(tmp_path):
    write_images(tmp_path, ['a.png'])
    dataset = UnlabeledImages(str(tmp_path), pipeline=[lambda results: results['no such key']])
    with pytest.raises(KeyError, match='no such key'):
        dataset[0]


def test_a_subset_can_be_chosen_as_in_every_mmengine_dataset(tmp_path):
    write_images(tmp_path, ['a.png', 'b.png', 'c.png'])
    assert paths(build(tmp_path, indices=2)) == ['a.png', 'b.png']
    assert paths(build(tmp_path, indices=[2, 0])) == ['c.png', 'a.png']


def test_a_subset_has_at_most_the_images_there_are(tmp_path):
    write_images(tmp_path, ['a.png', 'b.png'])
    assert paths(build(tmp_path, indices=5)) == ['a.png', 'b.png']


@pytest.mark.parametrize(
    'indices, message',
    [
        ([0, 2], 'no image at position 2, .* has 2 images'),
        ((1, -1), 'no image at position -1, .* has 2 images'),
        ([], 'no image to take'),
        (0, 'no image to take'),
        (-3, 'no image to take'),
    ],
)
def test_a_subset_of_images_that_are_not_there_is_one_clear_line(tmp_path, indices, message):
    write_images(tmp_path, ['a.png', 'b.png'])
    with pytest.raises(DataError, match=f'indices of the data set: {message}'):
        build(tmp_path, indices=indices)

import copy
import os
import pickle
import subprocess
import tarfile

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from PIL import Image
from torch.utils.data import DataLoader

from flsl_mm.datasets import SampleKey, UnlabeledImages, tar_shards
from flsl_mm.datasets.tar_shards import TarShards, index_shards
from flsl_mm.utils.errors import DataError

PIPELINE = [
    dict(type='LoadRGBImage'),
    dict(type='RandomTeacherCrop', size=16),
    dict(type='PackTeacherCrop'),
]
EXTENSIONS = ('.png', '.jpg')


@pytest.fixture
def folder(tmp_path):
    """Images of every name that is special, in class folders."""
    long = 'dog/' + '/'.join(5 * ['of a very long name indeed']) + '/3.png'
    names = ['z.png', 'cat/1.png', 'cat/2.JPG', 'dog/a b.png', long]
    for i, name in enumerate([*names, 'cat/notes.txt', 'cat/.hidden.png']):
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        if name.endswith('.txt'):
            path.write_text('no image')
        else:
            Image.fromarray(pixels).save(path)
    return tmp_path / 'images'


@pytest.fixture
def shards(folder, tmp_path):
    """The same images in two tar files as tar itself makes them."""
    target = tmp_path / 'shards'
    target.mkdir()
    for number, names in enumerate([['z.png', 'cat'], ['dog']]):
        subprocess.run(['tar', 'cf', target / f'{number}.tar', '-C', folder, *names], check=True)
    index_shards(str(target), EXTENSIONS, report=lambda line: None)
    return target


def build(root, **settings):
    return UnlabeledImages(str(root), pipeline=PIPELINE, **settings)


def sorted_names(dataset):
    return sorted(dataset.source.names)


def test_tar_files_hold_the_images_that_the_folder_holds(folder, shards):
    files, inside = build(folder), build(shards)
    assert sorted_names(inside) == sorted_names(files) and len(files) == 5
    contents = {files.source.names[i]: open(files.source.path(i), 'rb').read() for i in range(5)}
    for i in range(5):
        info = inside.get_data_info(i)
        assert info['img_bytes'] == contents[inside.source.names[i]]
        assert info['img_path'].startswith(str(shards)) and '.tar/' in info['img_path']


def test_samples_are_those_of_the_files(folder, shards):
    files, inside = build(folder), build(shards)
    places = {files.source.names[i]: i for i in range(len(files))}
    for i, name in enumerate(inside.source.names):
        for seed in (0, 7):
            ours = inside[SampleKey(i, seed)]
            theirs = files[SampleKey(places[name], seed)]
            assert torch.equal(ours['inputs'], theirs['inputs'])
            assert ours['data_samples'].teacher_box == theirs['data_samples'].teacher_box


def test_samples_do_not_depend_on_the_number_of_workers(shards):
    keys = [SampleKey(i % 5, 100 + i) for i in range(10)]
    dataset = build(shards)
    dataset[0]  # a file is open already when the workers start

    def batches(workers):
        loader = DataLoader(
            dataset, 2, sampler=keys, num_workers=workers, collate_fn=default_collate
        )
        return [batch['inputs'] for batch in loader]

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert torch.equal(alone, shared)


def test_only_so_many_files_are_open(shards, monkeypatch):
    monkeypatch.setattr(tar_shards, 'MAX_OPEN_FILES', 1)
    source = TarShards(str(shards))
    before = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else None
    contents = [source[i]['img_bytes'] for i in (0, 4, 0, 4)]
    assert contents[0] == contents[2] != contents[1] == contents[3]
    assert len(source._open) == 1
    if before is not None:
        assert len(os.listdir('/proc/self/fd')) == before + 1
        del source
        assert len(os.listdir('/proc/self/fd')) == before


def test_a_copy_has_open_files_of_its_own(shards):
    source = TarShards(str(shards))
    first = source[0]
    for other in (copy.deepcopy(source), pickle.loads(pickle.dumps(source))):
        assert not other._open and other[0] == first
        del other
    assert source[0] == first


def test_an_image_that_is_damaged_in_its_tar_file_is_replaced_and_named(shards):
    source = TarShards(str(shards))
    with open(shards / source.shards[0], 'rb+') as file:
        file.seek(int(source.start[0]))
        file.write(b'x' * 100)
    sample = build(shards)[SampleKey(0, 5)]['data_samples']
    assert sample.img_path == source.path(1)
    assert sample.broken == [(source.path(0), 'UnidentifiedImageError: no image of a known format')]


def test_a_tar_file_that_goes_away_is_a_broken_image(shards):
    dataset = build(shards)
    shard = dataset.source.shards[int(dataset.source.shard[4])]
    os.remove(shards / shard)
    sample = dataset[SampleKey(4, 5)]['data_samples']
    [(path, reason)] = sample.broken
    assert path == dataset.source.path(4) and 'No such file' in reason


def test_tar_files_that_changed_are_refused(shards):
    with open(shards / '1.tar', 'ab') as file:
        file.write(b'more')
    with pytest.raises(DataError, match=r'1\.tar has \d+ bytes instead of .*--index'):
        build(shards)
    os.remove(shards / '1.tar')
    with pytest.raises(DataError, match=r'1\.tar is missing; .*--index'):
        build(shards)


def test_an_index_that_is_damaged_is_refused(shards):
    content = (shards / 'shards.npz').read_bytes()
    for wrong in (content[: len(content) // 2], b'', b'text'):
        (shards / 'shards.npz').write_bytes(wrong)
        with pytest.raises(DataError, match=r'shards\.npz is no index of tar files .*--index'):
            build(shards)


def test_what_cannot_be_indexed_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match='there are no .tar files in '):
        index_shards(str(tmp_path), EXTENSIONS)
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        tar.addfile(tarfile.TarInfo('notes.txt'))
    with pytest.raises(DataError, match=r'no images in the tar files of .*\.png'):
        index_shards(str(tmp_path), EXTENSIONS)
    with tarfile.open(tmp_path / 'b.tar', 'w:gz') as tar:
        tar.addfile(tarfile.TarInfo('a.png'))
    with pytest.raises(DataError, match=r'b\.tar is no whole uncompressed tar file'):
        index_shards(str(tmp_path), EXTENSIONS)
    assert not (tmp_path / 'shards.npz').exists()


def test_a_tar_file_that_ends_early_is_refused(shards):
    content = (shards / '0.tar').read_bytes()
    (shards / '0.tar').write_bytes(content[:700])
    with pytest.raises(DataError, match=r'0\.tar is no whole uncompressed tar file'):
        index_shards(str(shards), EXTENSIONS, report=lambda line: None)


def test_tar_files_without_an_index_say_how_to_make_one(shards):
    os.remove(shards / 'shards.npz')
    with pytest.raises(DataError, match=r'no images found under .*make_shards\.py --index'):
        build(shards)

import pytest

from flsl_mm.datasets import find_labeled_images
from flsl_mm.utils.errors import DataError


def make(root, *folders: str) -> str:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return str(root)


@pytest.mark.parametrize('names', [('images', 'annotations'), ('img_dir', 'ann_dir')])
@pytest.mark.parametrize('splits', [('training', 'validation'), ('train', 'val')])
def test_pairs_of_folders_with_splits(tmp_path, names, splits):
    root = make(tmp_path, *(f'{name}/{split}' for name in names for split in splits))
    train, val = find_labeled_images(root)
    for config, split in ((train, splits[0]), (val, splits[1])):
        assert config == dict(
            type='MaskFolder',
            images=f'{root}/{names[0]}/{split}',
            masks=f'{root}/{names[1]}/{split}',
        )


def test_a_pair_of_folders_without_split_has_no_training_images(tmp_path):
    root = make(tmp_path, 'images', 'masks')
    train, val = find_labeled_images(root)
    assert train is None
    assert val == dict(type='MaskFolder', images=f'{root}/images', masks=f'{root}/masks')


@pytest.mark.parametrize('images', ['{}2017', 'images/{}2017'])
def test_coco_with_its_images_beside_or_below(tmp_path, images):
    root = make(tmp_path, 'annotations', images.format('train'), images.format('val'))
    for split in ('train', 'val'):
        (tmp_path / f'annotations/instances_{split}2017.json').touch()
    for config, split in zip(find_labeled_images(root), ('train', 'val')):
        assert config['images'] == f'{root}/{images.format(split)}'
        assert config['ann_file'] == f'{root}/annotations/instances_{split}2017.json'


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match='in no known layout: neither annotations/instances_val'):
        find_labeled_images(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        find_labeled_images(str(tmp_path / 'nowhere'))

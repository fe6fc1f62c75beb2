"""DAVIS-2016, CamVid, Tiny-ImageNet and clothing in layouts that the frozen tasks read."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from flsl_mm.datasets import ImageNetBoxes
from flsl_mm.datasets.davis import find_davis
from flsl_mm.datasets.find_labeled_images import find_labeled_images
from flsl_mm.datasets.mask_files import read_mask
from flsl_mm.datasets.masks import MaskFolder


@pytest.fixture(scope='module')
def prepare(load_tool):
    return load_tool('dataset_converters/prepare_photographs').main


def save(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, np.uint8)).save(path)


def save_tags(path, mask):
    """A photograph of 8 x 8 pixels with its tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, dict(groundtruth=np.asarray(mask, np.uint8)))
    save(path.parents[2] / f'photos/{path.stem}.jpg', np.zeros((8, 8)))


@pytest.fixture
def sources(tmp_path):
    """A sequence of three frames, two + one street images, two classes of two + one images, and
    three photographs of clothing.
    """
    square = np.full((8, 8), 7)
    for i in range(3):
        save(tmp_path / f'davis/JPEGImages/480p/dog/{i:05}.jpg', square)
        save(tmp_path / f'davis/Annotations/480p/dog/{i:05}.png', np.eye(8) * 255)
    for split, count in (('train', 2), ('test', 1)):
        for i in range(count):
            save(tmp_path / f'camvid/{split}/{i}.png', square)
            save(tmp_path / f'camvid/{split}annot/{i}.png', np.tri(8) * 11)
    tiny = tmp_path / 'tiny'
    for name in ('n1', 'n2'):
        for i in range(2):
            save(tiny / f'train/{name}/images/{name}_{i}.JPEG', np.zeros((64, 64)))
        lines = [f'{name}_{i}.JPEG\t{i}\t2\t30\t40' for i in range(2)]
        (tiny / f'train/{name}/{name}_boxes.txt').write_text('\n'.join(lines))
    save(tiny / 'val/images/val_0.JPEG', np.zeros((64, 64)))
    (tiny / 'val/val_annotations.txt').write_text('val_0.JPEG\tn2\t1\t2\t3\t4\n')
    for i in range(3):
        save_tags(tmp_path / f'clothing/annotations/pixel-level/000{i}.mat', np.eye(8) * 58)
    return tmp_path


def test_each_set_is_read_by_its_task(prepare, sources, capsys):
    arguments = [f'--{name}={sources / folder}' for name, folder in (
        ('davis-2016', 'davis'), ('camvid', 'camvid'), ('tiny-imagenet', 'tiny'),
        ('clothing', 'clothing'))]  # fmt: skip
    out = sources / 'out'
    for _ in range(2):  # a second time replaces the first
        assert prepare([str(out), *arguments, '--per-class=1']) == 0
    assert '2 classes, 2 and 1 images' in capsys.readouterr().out

    [sequence] = find_davis(out / 'davis')
    assert len(sequence.frames) == 3
    assert np.array_equal(read_mask(sequence.masks[0]), np.eye(8))

    # Void is ignored; tags are kept.
    for name, labels in (('camvid', -np.tri(8)), ('clothing', np.eye(8) * 58)):
        splits = find_labeled_images(str(out / name))
        folders = [MaskFolder(**{k: v for k, v in d.items() if k != 'type'}) for d in splits]
        assert [len(folder) for folder in folders] == [2, 1]
        assert np.array_equal(folders[1][0].labels, labels)

    train = ImageNetBoxes(str(out / 'tiny'), 'train', pipeline=[dict(type='LoadImageNetBoxes')])
    val = ImageNetBoxes(str(out / 'tiny'), 'val', train.classes)
    assert (train.classes, len(train), len(val)) == (['n1', 'n2'], 2, 1)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((), 'give at least one of'),
        (('--davis-2016=nowhere',), 'there are no masks in nowhere'),
        (('--camvid=nowhere',), 'there are no masks in nowhere'),
        (('--tiny-imagenet=nowhere',), 'nowhere has no train'),
        (('--clothing=nowhere',), 'there are no masks in nowhere'),
    ],
)
def test_what_is_wrong_is_one_line(prepare, tmp_path, capsys, arguments, message):
    assert prepare([str(tmp_path / 'out'), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_masks_of_several_objects_are_no_davis_2016(prepare, sources, capsys):
    save(sources / 'davis/Annotations/480p/dog/00001.png', np.eye(8) * 3)
    assert prepare([str(sources / 'out'), f'--davis-2016={sources / "davis"}']) == 2
    assert 'is no mask of DAVIS-2016' in capsys.readouterr().err
    assert not (sources / 'out/davis').exists()


@pytest.mark.parametrize(
    'mask, message',
    [
        (np.full((8, 8), 59), 'tags are not below 59'),
        (np.zeros((8, 4)), 'is (4, 8) pixels, its photograph (8, 8)'),
        (None, 'is no mask of Clothing Co-Parsing: '),
    ],
)
def test_masks_of_other_tags_or_sizes_are_no_clothing(prepare, sources, capsys, mask, message):
    path = sources / 'clothing/annotations/pixel-level/0001.mat'
    if mask is None:
        path.write_text('no MATLAB')
    else:
        save_tags(path, mask)
    assert prepare([str(sources / 'out'), f'--clothing={sources / "clothing"}']) == 2
    assert f'{path} ' in (said := capsys.readouterr().err) and message in said
    assert not (sources / 'out/clothing').exists()

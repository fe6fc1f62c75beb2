"""The layout of DAVIS-2017, on drawn videos."""

import shutil

import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets import scenes
from flsl_mm.datasets.davis import find_davis, read_frame, read_masks, write_masks
from flsl_mm.utils.errors import DataError

NAME = 'scene-val-001'


@pytest.fixture
def root(tmp_path):
    scenes.write_davis(tmp_path / 'davis', 0, 2, num_frames=4, size=(64, 48))
    return tmp_path / 'davis'


def mask_path(root, frame: int):
    return root / 'Annotations/480p' / NAME / f'{frame:05}.png'


def test_a_sequence_is_frames_with_masks_in_order(root):
    first, second = find_davis(root)
    assert (first.name, second.name) == (NAME, 'scene-val-002')
    assert [path.name for path in first.frames] == [f'{i:05}.jpg' for i in range(4)]
    assert [path.stem for path in first.masks] == [path.stem for path in first.frames]
    assert read_frame(first.frames[0]).shape == (48, 64, 3)
    masks = read_masks(first.masks)
    assert masks.shape == (4, 48, 64) and masks[0].max() >= 1
    assert [s.name for s in find_davis(root, sequences=['scene-val-002'])] == ['scene-val-002']


@pytest.mark.parametrize(
    'names, expected',
    [(['10', '9', '1', '02'], ['1', '02', '9', '10']), (['f10', 'f9', '1'], ['1', 'f10', 'f9'])],
)
def test_frames_are_in_the_order_of_their_numbers_or_else_names(tmp_path, names, expected):
    for folder, suffix in (('JPEGImages/480p', '.jpg'), ('Annotations/480p', '.png')):
        (tmp_path / folder / 'bear').mkdir(parents=True)
        for name in names:
            Image.new('L', (8, 8)).save(tmp_path / folder / 'bear' / f'{name}{suffix}')
    [sequence] = find_davis(tmp_path, sequences=['bear'])
    for paths in (sequence.frames, sequence.masks):
        assert [path.stem for path in paths] == expected


def test_what_a_mac_leaves_in_the_folders_is_no_frame(root):
    expected = find_davis(root)[0]
    for folder, suffix in (('JPEGImages/480p', 'jpg'), ('Annotations/480p', 'png')):
        for name in (f'._00001.{suffix}', '.DS_Store', f'._00009.{suffix}'):
            (root / folder / NAME / name).write_bytes(b'Mac OS X')
    assert find_davis(root)[0] == expected


@pytest.mark.parametrize('orientation', range(2, 9))
def test_frames_are_as_stored_where_their_size_is_that_of_the_masks(root, orientation):
    path = root / 'JPEGImages/480p' / NAME / '00000.jpg'
    stored = read_frame(path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.save(path, exif=exif, quality=95, subsampling=0)
    assert find_davis(root)[0].frames[0] == path
    assert np.abs(read_frame(path).astype(int) - stored).max() < 40


def test_frames_whose_masks_are_turned_are_named(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in (root / 'JPEGImages/480p' / NAME).iterdir():
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    with pytest.raises(DataError, match=r'00000\.jpg is 48 x 64 pixels, .*00000\.png 64 x 48'):
        find_davis(root)


def test_frames_are_read_as_rgb(root):
    path = root / 'JPEGImages/480p' / NAME / '00000.jpg'
    with Image.open(path) as image:
        expected = np.asarray(image.convert('RGB')).astype(int)
    assert np.abs(read_frame(path) - expected).max() <= 4  # decoders round differently


def test_real_sequences_are_found(shared_dir):
    sequences = find_davis(shared_dir / 'data/davis')
    assert [(s.name, len(s.frames)) for s in sequences] == [
        ('car-shadow', 25),
        ('drift-chicane', 25),
    ]
    assert read_masks(sequences[0].masks[:1]).shape == (1, 480, 854)


def test_a_missing_list_or_folder_is_named(root):
    with pytest.raises(FileNotFoundError, match='ImageSets/2017/test-dev.txt: the data root is'):
        find_davis(root, split='test-dev')
    with pytest.raises(FileNotFoundError, match='no folder .*JPEGImages/480p/bear'):
        find_davis(root, sequences=['bear'])
    shutil.rmtree(root / 'Annotations/480p' / NAME)
    with pytest.raises(FileNotFoundError, match=f'no folder .*Annotations/480p/{NAME}'):
        find_davis(root)
    (root / 'ImageSets/2017/val.txt').write_text('\n')
    with pytest.raises(DataError, match='val.txt names no sequence'):
        find_davis(root)


def test_a_frame_without_mask_is_named(root):
    mask_path(root, 2).unlink()
    with pytest.raises(DataError, match='00002.png is missing: 1 of the 4 files in .*JPEGImages'):
        find_davis(root)


def test_a_mask_without_frame_is_named(root):
    (root / 'JPEGImages/480p' / NAME / '00003.jpg').unlink()
    with pytest.raises(DataError, match='00003.jpg is missing: 1 of the 4 files in .*Annotations'):
        find_davis(root)


def test_a_mask_of_another_size_is_named(root):
    Image.new('P', (64, 40)).save(mask_path(root, 1))
    with pytest.raises(DataError, match='00001.png is 64 x 40 pixels, .*00000.png 64 x 48'):
        find_davis(root)


def test_too_short_a_video_is_refused(root):
    for frame in (2, 3):
        mask_path(root, frame).unlink()
        (root / 'JPEGImages/480p' / NAME / f'{frame:05}.jpg').unlink()
    with pytest.raises(DataError, match='2 frames; the first and last are not scored'):
        find_davis(root)


def test_a_broken_mask_is_named(root):
    path = mask_path(root, 1)
    content = bytearray(path.read_bytes())
    start = content.index(b'IDAT') + 4
    content[start : start + 20] = bytes(20)  # the header is whole
    path.write_bytes(content)
    sequence = find_davis(root)[0]
    with pytest.raises(DataError, match='mask .*00001.png cannot be read'):
        read_masks(sequence.masks)
    path.write_bytes(b'')
    with pytest.raises(DataError, match='00001.png: not a readable image'):
        find_davis(root)


def test_a_broken_frame_is_named(root):
    path = root / 'JPEGImages/480p' / NAME / '00000.jpg'
    path.write_bytes(b'none')
    with pytest.raises(DataError, match='00000.jpg: not a readable image'):
        read_frame(path)


def test_written_masks_read_the_same_in_the_palette_of_davis(root, tmp_path):
    masks = read_masks(find_davis(root)[0].masks)
    folder = tmp_path / 'results' / NAME
    for content in (masks * 0, masks):  # the second replaces the first
        write_masks(folder, ['00000', '00001', '00002', '00003'], content)
    paths = sorted(folder.iterdir())
    np.testing.assert_array_equal(read_masks(paths), masks)
    with Image.open(paths[0]) as ours, Image.open(mask_path(root, 0)) as theirs:
        assert ours.mode == 'P' and ours.getpalette()[:9] == theirs.getpalette()[:9]
    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_masks_that_cannot_all_be_written_leave_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_masks(tmp_path / NAME, ['00000', 'no/folder'], np.zeros((2, 4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []

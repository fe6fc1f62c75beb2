"""UAVDT as a dataset."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from PIL import Image

from flsl_mm.datasets import UAVDTDataset, uavdt_index
from flsl_mm.datasets.scenes import write_uavdt
from flsl_mm.datasets.uavdt import make_entries

SEQUENCES = ('M0101', 'M0201')
GT = 'UAV-benchmark-MOTD_v1.0/GT'


@pytest.fixture
def root(tmp_path) -> Path:
    """Two small sequences as unpacked."""
    write_uavdt(tmp_path / 'uavdt', SEQUENCES, num_frames=3)
    return tmp_path / 'uavdt'


def load(root, sequences=SEQUENCES, **kwargs) -> UAVDTDataset:
    return UAVDTDataset(str(root), 'train', sequences, **kwargs)


def test_configs_find_it(root):
    cfg = dict(type='UAVDTDataset', data_root=str(root), sequences=SEQUENCES)
    assert isinstance(DATASETS.build(cfg), UAVDTDataset)


def test_frames_have_boxes_and_ignored_regions(root):
    dataset = load(root)
    assert dataset.metainfo['classes'] == ('car', 'truck', 'bus')
    assert [entry['img_id'] for entry in dataset] == [
        f'{name}/img{frame:06d}' for name in SEQUENCES for frame in (1, 2, 3)
    ]
    entry = dataset[4]
    assert (entry['width'], entry['height']) == Image.open(entry['img_path']).size == (256, 136)
    lines = (root / GT / 'M0201_gt_whole.txt').read_text().splitlines()
    expected = [list(map(int, line.split(','))) for line in lines if line.startswith('2,')]
    assert entry['instances'] == [
        dict(bbox=[x, y, x + w, y + h], bbox_label=category - 1, ignore_flag=0)
        for _, _, x, y, w, h, _, _, category in expected
    ] + [dict(bbox=[0, 0, 42, 22], bbox_label=0, ignore_flag=1)]


def test_boxes_are_clipped_and_counted(root):
    (root / GT / 'M0101_gt_whole.txt').write_text(
        '1,1,-5,10,20,20,1,1,1\n1,2,250,130,20,20,1,1,2\n1,3,256,10,20,20,1,1,3\n'
        '1,4,10,10,20,20,1,1,1\n1,5,10,10,0,20,1,1,1\n'
    )
    counts = load_counts(root)
    assert counts == dict(boxes=3, clipped=2, outside=2)
    boxes = [i['bbox'] for i in load(root)[0]['instances'] if not i['ignore_flag']]
    assert boxes == [[0, 10, 15, 30], [250, 130, 256, 136], [10, 10, 30, 30]]


def load_counts(root) -> dict:
    image_dir, gt_dir = uavdt_index.find_folders(root, ['M0101'])
    index = uavdt_index.load_sequence(image_dir, gt_dir, 'M0101', root / 'cache')
    counts = Counter()
    make_entries(index, 'M0101', image_dir, None, counts)
    return dict(counts)


@pytest.mark.parametrize(
    'images, gt',
    [
        ('UAV-benchmark-M', 'UAV-benchmark-MOTD_v1.0/GT'),
        (
            'UAV-benchmark-M/UAV-benchmark-M',
            'UAV-benchmark-MOTD_v1.0/UAV-benchmark-MOTD_v1.0/GT',
        ),
        ('.', 'GT'),
        ('images', 'GT'),
    ],
)
def test_archives_may_be_unpacked_in_several_ways(root, tmp_path, images, gt):
    other = tmp_path / 'other'
    shutil.copytree(root / 'UAV-benchmark-M', other / images)
    shutil.copytree(root / GT, other / gt)
    for entry, expected in zip(load(other), load(root), strict=True):
        assert entry['instances'] == expected['instances']
        assert Path(entry['img_path']).is_file()


def test_the_layout_of_motchallenge_is_read(root):
    folder = root / 'UAV-benchmark-M/M0101'
    (folder / 'img1').mkdir()
    for path in folder.glob('*.jpg'):
        path.rename(folder / 'img1' / path.name)
    dataset = load(root)
    assert len(dataset) == 6
    assert dataset[0]['img_path'] == str(folder / 'img1/img000001.jpg')


def test_empty_frames_are_left_out_of_training_only(root):
    (root / GT / 'M0101_gt_whole.txt').write_text('2,1,10,10,20,20,1,1,1\n')
    keep = dict(filter_cfg=dict(filter_empty_gt=True))
    assert len(load(root)) == 6
    assert [entry['img_id'] for entry in load(root, **keep)][0] == 'M0101/img000002'
    assert len(load(root, **keep)) == 4
    assert len(load(root, **keep, test_mode=True)) == 6


def test_a_frame_list_selects_a_subset(root, tmp_path):
    path = tmp_path / 'frames.txt'
    path.write_text('M0201/img000003.jpg\nM0101/img000002.jpg\nM1401/img000001.jpg\n')
    dataset = load(root, frame_list=str(path))
    assert [entry['img_id'] for entry in dataset] == ['M0101/img000002', 'M0201/img000003']
    path.write_text('M1401/img000001.jpg\n')
    with pytest.raises(ValueError, match='frames.txt: has no frame of M0101, M0201'):
        load(root, frame_list=str(path))


def test_the_metric_learns_what_to_evaluate_and_checkpoints_hold_no_paths(root):
    meta = load(root, test_mode=True).metainfo
    assert (meta['gt_dir'], meta['sequences']) == (str(root / GT), SEQUENCES)
    assert 'gt_dir' not in load(root).metainfo


def test_missing_data_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match='no images of M0202, M0204 in .*UAV-benchmark-M'):
        load(root, ('M0101', 'M0202', 'M0204'))
    with pytest.raises(FileNotFoundError, match='UAVDT: no images .* under .*: set data_root'):
        load(tmp_path / 'nowhere')
    (root / GT / 'M0201_gt_ignore.txt').unlink()
    with pytest.raises(FileNotFoundError, match='there is no M0201_gt_ignore.txt'):
        load(root)
    shutil.rmtree(root / 'UAV-benchmark-MOTD_v1.0')
    with pytest.raises(FileNotFoundError, match='UAVDT: no ground truth'):
        load(root)
    with pytest.raises(ValueError, match="split is 'train' or 'test', got 'val'"):
        UAVDTDataset(str(root), 'val')


def test_frames_without_an_image_are_reported(root, caplog):
    (root / 'UAV-benchmark-M/M0101/img000002.jpg').unlink()
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        for _ in range(2):  # also from the cache
            assert len(load(root)) == 5
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.text.count('M0101: 1 frames with ground truth have no image, the first is 2') == 2
    assert '2 sequences, 5 frames (5 with boxes), 15 boxes, 0 clipped' in caplog.text


def test_malformed_files_are_named(root):
    with open(root / GT / 'M0201_gt_whole.txt', 'a') as file:
        file.write('3,1,10,10,twenty,20,1,1,1\n')
    with pytest.raises(ValueError, match=r'M0201_gt_whole.txt, line 10: not comma-separated'):
        load(root)
    (root / 'UAV-benchmark-M/M0101/img000004.jpg').write_text('no image')
    with pytest.raises(ValueError, match='M0101/img000004.jpg: not a readable image'):
        load(root)


def test_the_index_is_cached_until_something_changes(root, monkeypatch):
    calls = []
    read = uavdt_index.read_sequence
    monkeypatch.setattr(
        uavdt_index, 'read_sequence', lambda *args: calls.append(args[2]) or read(*args)
    )
    first = list(load(root))
    assert calls == list(SEQUENCES)
    assert list(load(root)) == first and calls == list(SEQUENCES)
    path = root / GT / 'M0101_gt_whole.txt'
    path.write_text(path.read_text() + '3,9,100,10,20,20,1,1,1\n')
    assert len(load(root)[2]['instances']) == len(first[2]['instances']) + 1
    assert calls[2:] == ['M0101']
    shutil.copy(
        root / 'UAV-benchmark-M/M0201/img000001.jpg', root / 'UAV-benchmark-M/M0201/img000004.jpg'
    )
    assert len(load(root)) == 7 and calls[3:] == ['M0201']
    (root / '.uavdt_index/M0101.npz').write_bytes(b'PK damaged')
    assert len(load(root)) == 7 and calls[4:] == ['M0101']


def test_the_index_is_written_whole_and_may_be_elsewhere(root, tmp_path):
    load(root, cache_dir=str(tmp_path / 'cache'))
    assert sorted(os.listdir(tmp_path / 'cache')) == ['M0101.npz', 'M0201.npz']
    assert not (root / '.uavdt_index').exists()
    (tmp_path / 'file').touch()
    assert len(load(root, cache_dir=str(tmp_path / 'file/cache'))) == 6  # cannot be written


def test_drawn_vehicles_are_where_the_ground_truth_says(root):
    entry = load(root)[0]
    image = np.asarray(Image.open(entry['img_path'])).astype(int)
    for instance in entry['instances']:
        if not instance['ignore_flag']:
            left, top, right, bottom = (round(value) for value in instance['bbox'])
            inside, above = image[top + 3, left + 3], image[top - 4, left + 3]
            assert np.ptp(inside) > 60 > np.ptp(above)  # colored on gray

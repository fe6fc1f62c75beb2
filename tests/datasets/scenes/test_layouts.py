"""Drawn scenes, read back by what reads the real data sets."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets import UAVDTDataset, UnlabeledImages, scenes
from flsl_mm.datasets.davis import davis_palette
from flsl_mm.datasets.scenes.layouts import WNIDS, encode_mask

CLASSES = [kind.name for kind in scenes.OBJECTS]


def all_bytes(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file()}


WRITERS = dict(
    imagenet=lambda root, n, seed: scenes.write_imagenet(root, n, n, 48, seed),
    coco=lambda root, n, seed: scenes.write_coco(root, n, n, (64, 48), seed),
    ade=lambda root, n, seed: scenes.write_ade20k(root, n, n, (48, 48), seed),
    davis=lambda root, n, seed: scenes.write_davis(root, 1, n, 2, (64, 48), seed),
    uavdt=lambda root, n, seed: scenes.write_uavdt(root, ['M0101', 'M0203'][:n], 2, seed=seed),
)


@pytest.mark.parametrize('layout', WRITERS)
def test_the_same_seed_writes_the_same_files(layout, tmp_path):
    for name, seed in (('first', 0), ('again', 0), ('other', 1)):
        WRITERS[layout](tmp_path / name, 2, seed)
    first, again, other = (all_bytes(tmp_path / name) for name in ('first', 'again', 'other'))
    assert first == again
    images = [name for name in first if name.endswith(('.jpg', '.JPEG'))]
    assert len(images) >= 4
    assert all(first[name] != other.get(name) for name in images)


@pytest.mark.parametrize('layout', WRITERS)
def test_more_images_begin_with_the_same_ones(layout, tmp_path):
    for name, count in (('few', 1), ('more', 2)):
        WRITERS[layout](tmp_path / name, count, 0)
    few, more = (all_bytes(tmp_path / name) for name in ('few', 'more'))
    images = [name for name in few if name.endswith(('.jpg', '.JPEG', '.png'))]
    assert images and all(few[name] == more[name] for name in images)
    assert len(more) > len(few)


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('imagenet')
    scenes.write_imagenet(root, num_train=12, num_val=6, side=48)
    return root


def test_pretraining_finds_imagenet_images_of_training_only(imagenet):
    dataset = UnlabeledImages(str(imagenet))
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert len(paths) == 12 and all('CLS-LOC/train/' in path for path in paths)
    assert {Path(path).parent.name for path in paths} == set(WNIDS)


def test_imagenet_boxes_have_the_class_of_their_image(imagenet):
    found = sorted((imagenet / 'Annotations/CLS-LOC').rglob('*.xml'))
    assert len(found) == 18
    for path in found:
        tree = ElementTree.parse(path)
        folder = path.relative_to(imagenet / 'Annotations').parent
        image = Image.open(imagenet / 'Data' / folder / f'{tree.findtext("filename")}.JPEG')
        size = tree.find('size')
        assert image.size == (int(size.findtext('width')), int(size.findtext('height')))
        names = {item.findtext('name') for item in tree.iter('object')}
        assert len(names) == 1 and (folder.name == 'val' or names == {folder.name})
        for box in tree.iter('bndbox'):
            left, top, right, bottom = (int(child.text) for child in box)
            assert 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
    names = dict(
        line.split() for line in (imagenet / 'LOC_synset_mapping.txt').read_text().splitlines()
    )
    assert list(names.values()) == CLASSES


@pytest.fixture(scope='module')
def coco(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('coco')
    scenes.write_coco(root, num_train=8, num_val=2, size=(64, 48))
    return root


def test_coco_scenes_are_read_by_the_coco_dataset(coco):
    pytest.importorskip('mmdet')
    from mmcv.transforms import LoadImageFromFile
    from mmdet.datasets.transforms import LoadAnnotations

    from flsl_mm.datasets.checked_coco_dataset import CheckedCocoDataset

    dataset = CheckedCocoDataset(
        data_root=str(coco),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=CLASSES),
        filter_cfg=dict(filter_empty_gt=True),
    )
    assert len(dataset) == 8
    load = LoadAnnotations(with_mask=True, box_type=None)
    encodings = set()
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        assert (info['width'], info['height']) == Image.open(info['img_path']).size
        encodings |= {type(instance['mask']) for instance in info['instances']}
        results = load(LoadImageFromFile()(info))
        assert (~results['gt_ignore_flags']).all() and len(results['gt_masks'])
        for mask, box in zip(results['gt_masks'].masks, results['gt_bboxes']):
            rows, columns = np.nonzero(mask)
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(np.subtract(tight, box)).max() <= 1
    assert encodings == {list, dict}


def test_coco_encodings_keep_the_mask():
    mask_utils = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(0)
    for _ in range(30):
        instances = scenes.sample_scene(rng, size=(64, 48)).render().instances
        for mask in (instances == number for number in np.unique(instances)):
            encoded = encode_mask(mask)
            if isinstance(encoded, list):
                [rle] = mask_utils.frPyObjects(encoded, *mask.shape)
            else:
                rle = mask_utils.frPyObjects(encoded, *mask.shape)
            decoded = mask_utils.decode(rle).astype(bool)
            assert (decoded != mask).sum() <= 0.02 * mask.sum()
            if isinstance(encoded, dict):
                assert np.array_equal(decoded, mask)


def test_ade20k_scenes_are_read_by_the_ade20k_dataset(tmp_path):
    pytest.importorskip('mmseg')
    from mmcv.transforms import LoadImageFromFile

    from flsl_mm.segmentation.dataset import CheckedADE20KDataset, LoadADE20KLabels

    scenes.write_ade20k(tmp_path, num_train=6, num_val=3, size=(48, 48))
    for split, count in (('training', 6), ('validation', 3)):
        dataset = CheckedADE20KDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}'),
        )
        assert len(dataset) == count
        for i in range(count):
            loaded = LoadImageFromFile()(dataset.get_data_info(i))
            labels = LoadADE20KLabels()(loaded)['gt_seg_map']
            assert labels.shape == (48, 48)
            known = labels[labels != 255]
            assert known.max() < len(scenes.CLASSES) and len(known) > 0.9 * labels.size


def test_davis_scenes_have_the_layout_of_davis(tmp_path):
    scenes.write_davis(tmp_path, num_train=1, num_val=4, num_frames=5, size=(64, 48))
    names = (tmp_path / 'ImageSets/2017/val.txt').read_text().split()
    assert len(names) == 4
    counts = set()
    for name in names:
        frames, masks = (
            sorted((tmp_path / top / '480p' / name).iterdir())
            for top in ('JPEGImages', 'Annotations')
        )
        assert [path.stem for path in frames] == [f'{i:05}' for i in range(5)]
        assert [path.name for path in masks] == [f'{i:05}.png' for i in range(5)]
        first = Image.open(masks[0])
        assert first.mode == 'P' and first.size == Image.open(frames[0]).size == (64, 48)
        objects = set(np.unique(first)) - {0}
        assert objects == set(range(1, len(objects) + 1))
        counts.add(len(objects))
    assert len(counts) > 1


def test_videos_too_small_for_objects_are_refused(tmp_path):
    scenes.write_davis(tmp_path, num_train=0, num_val=2, num_frames=1, size=(16, 16))
    with pytest.raises(ValueError, match='at least 16 x 16 pixels .* got 24 x 15$'):
        scenes.write_davis(tmp_path, size=(24, 15))


def test_the_palette_is_that_of_davis(shared_dir):
    mask = next((shared_dir / 'data/davis/Annotations/480p').rglob('*.png'))
    theirs = Image.open(mask).getpalette()
    assert davis_palette().reshape(-1).tolist()[:12] == theirs[:12]


def test_uavdt_scenes_show_vehicles_where_the_ground_truth_says(tmp_path):
    scenes.write_uavdt(tmp_path, ['M0101'], num_frames=3)
    dataset = UAVDTDataset(str(tmp_path), 'train', ['M0101'])
    assert len(dataset) == 3
    for i in range(3):
        entry = dataset[i]
        image = np.asarray(Image.open(entry['img_path'])).astype(int)
        colored = np.ptp(image, axis=2) > 60
        for instance in entry['instances']:
            if not instance['ignore_flag']:
                left, top, right, bottom = map(round, instance['bbox'])
                assert colored[top:bottom, left:right].mean() > 0.7
                colored[top - 1 : bottom + 1, max(0, left - 1) : right + 1] = False
        assert colored.mean() < 0.01

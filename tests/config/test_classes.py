"""Classes of one's own: one setting, and data, heads and colors follow."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
from flsl_mm.apis.command_line import read_config_file  # noqa: E402
from flsl_mm.config.classes import stated_classes, use_classes  # noqa: E402
from flsl_mm.datasets.coco_file import category_names  # noqa: E402
from flsl_mm.utils.errors import ConfigError, DataError  # noqa: E402

DETECTORS = [
    'mask-rcnn_flsl-vits16_fpn_1x_coco',
    'mask-rcnn_flsl-vitb16_vitdet_100e_coco',
    'mask-rcnn_dinov3-vits16_fpn_1x_coco',
    'faster-rcnn_flsl-vits16_fpn_1x_coco',
    'faster-rcnn_flsl-vitb16_vitdet_100e_coco',
]
SEGMENTORS = [
    'sem-fpn_flsl-vits16_40k_ade20k-512x512',
    'linear_flsl-vits16_10k_ade20k-512x512',
    'knn_flsl-vits16_1e_ade20k-512x512',
]
SPLITS = ('train', 'val', 'test')


@pytest.fixture
def fruit(tmp_path) -> Path:
    """A COCO-style folder of two classes: one image, one object."""
    content = dict(
        images=[dict(id=1, file_name='1.png', width=32, height=24)],
        categories=[dict(id=7, name='apple'), dict(id=3, name='pear')],
        annotations=[dict(id=1, image_id=1, category_id=3, bbox=[4, 4, 9, 9], area=81, iscrowd=0)],
    )
    (tmp_path / 'annotations').mkdir()
    for split in ('train', 'val'):
        path = tmp_path / f'annotations/instances_{split}2017.json'
        path.write_text(json.dumps(content))
        (tmp_path / f'{split}2017').mkdir()
        Image.new('RGB', (32, 24)).save(tmp_path / f'{split}2017/1.png')
    return tmp_path


@pytest.fixture
def read(project_root):
    """Reads a config of a folder as the tools do, with the classes that the data have."""

    def read(name: str, **options):
        folder = 'coco' if 'rcnn' in name else 'ade20k'
        cfg = read_config_file(project_root / f'configs/{folder}/{name}.py', options)
        use_classes(cfg)
        return cfg

    return read


def heads(cfg) -> dict[str, int]:
    parts = {**(cfg.model.get('roi_head') or {}), **cfg.model}
    return {
        n: p.num_classes
        for n, p in parts.items()
        if n.endswith('head') and p and 'num_classes' in p
    }


@pytest.mark.parametrize('name', DETECTORS)
@pytest.mark.parametrize('given, classes', [
    (None, ['apple', 'pear']),
    (['pear'], ['pear']),
    (['pear', 'apple'], ['pear', 'apple']),
])  # fmt: skip
def test_classes_are_those_of_the_file_or_of_one_setting(read, fruit, name, given, classes):
    options = {} if given is None else dict(classes=given)
    cfg = read(name, data_root=str(fruit), **options)
    expected = ('bbox_head', 'mask_head') if name.startswith('mask') else ('bbox_head',)
    assert heads(cfg) == dict.fromkeys(expected, len(classes))
    for split in SPLITS:
        meta = cfg[f'{split}_dataloader'].dataset.metainfo
        assert meta.classes == classes and len(set(map(tuple, meta.palette))) == len(classes)
    assert stated_classes(cfg) == tuple(classes)
    before = cfg.to_dict()
    use_classes(cfg)
    assert cfg.to_dict() == before  # twice is once


@pytest.mark.parametrize('name', SEGMENTORS)
@pytest.mark.parametrize('reduce', [False, True])
def test_masks_have_the_classes_of_one_setting(read, name, reduce):
    cfg = read(name, classes=['soil', 'leaf', 'rust'], reduce_zero_label=reduce)
    assert heads(cfg) == dict(decode_head=3)
    for split in SPLITS:
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.type == 'CheckedMaskDataset' and dataset.reduce_zero_label == reduce
        assert dataset.metainfo.classes == ['soil', 'leaf', 'rust']
        assert len(set(map(tuple, dataset.metainfo.palette))) == 3


@pytest.mark.parametrize('name', [DETECTORS[0], DETECTORS[1], SEGMENTORS[0]])
def test_without_own_data_nothing_changes(read, project_root, name, shared_dir):
    for root in ('data/none', str(shared_dir / 'data/coco')):
        cfg = read(name, data_root=root)
        found = {'bbox_head': 80, 'mask_head': 80} if 'rcnn' in name else {'decode_head': 150}
        assert heads(cfg) == found and not cfg.train_dataloader.dataset.get('metainfo')


@pytest.mark.parametrize('given', ['apple', [], ['apple', 'apple'], [1, 2], ['']])
@pytest.mark.parametrize('name', [DETECTORS[0], SEGMENTORS[0]])
def test_classes_that_are_no_names_are_one_line(read, name, given):
    with pytest.raises(ConfigError, match=r'classes must be a list of different names') as error:
        read(name, classes=given)
    assert '\n' not in str(error.value)


def test_what_has_no_effect_without_own_classes_is_refused(read):
    with pytest.raises(ConfigError, match='reduce_zero_label is read by nothing'):
        read(SEGMENTORS[0], reduce_zero_label=True)


def test_names_may_stand_in_a_file(read, tmp_path):
    (tmp_path / 'names.txt').write_text('soil\nleaf\n')
    cfg = read(SEGMENTORS[0], classes=str(tmp_path / 'names.txt'))
    assert cfg.train_dataloader.dataset.metainfo.classes == str(tmp_path / 'names.txt')
    assert heads(cfg) == dict(decode_head=2)


def test_labels_are_by_name_whatever_the_order_of_a_file(fruit, read):
    from mmdet.registry import DATASETS

    for classes, label in ((['pear', 'apple'], 0), (['apple', 'pear'], 1)):
        cfg = read(DETECTORS[3], data_root=str(fruit), classes=classes)
        dataset = DATASETS.build(dict(cfg.val_dataloader.dataset, pipeline=[]))
        assert dataset.get_data_info(0)['instances'][0]['bbox_label'] == label


def test_objects_of_other_classes_are_counted(fruit, read, capsys):
    from mmdet.registry import DATASETS
    from mmengine.logging import MMLogger

    MMLogger.get_instance('test_objects_of_other_classes')
    cfg = read(DETECTORS[3], data_root=str(fruit), classes=['apple'])
    DATASETS.build(dict(cfg.val_dataloader.dataset, pipeline=[]))
    assert '1 object of other classes left out (pear)' in capsys.readouterr().out


def test_some_classes_of_real_images(shared_dir, read):
    from mmdet.registry import DATASETS

    options = dict(data_root=str(shared_dir / 'data/coco'), train_images='images/train2017')
    cfg = read(DETECTORS[0], classes=['dog', 'person'], **options)
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    content = json.loads(
        (shared_dir / 'data/coco/annotations/instances_train2017.json').read_text()
    )
    ids = {c['name']: c['id'] for c in content['categories']}
    for info in map(dataset.get_data_info, range(len(dataset))):
        assert Path(info['img_path']).is_file() and info['instances']
        found = sorted(i['bbox_label'] for i in info['instances'] if not i['ignore_flag'])
        of_image = [a for a in content['annotations'] if a['image_id'] == info['img_id']]
        there = [a['category_id'] for a in of_image if not a['iscrowd']]
        assert found == [0] * there.count(ids['dog']) + [1] * there.count(ids['person'])


@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_wrong_folder_of_images_names_the_setting_that_was_typed(fruit, read, split):
    from mmdet.registry import DATASETS

    cfg = read(DETECTORS[3], data_root=str(fruit), **{f'{split}_images': 'elsewhere/'})
    says = rf'elsewhere/\S+: .* is data_root with {split}_images '
    with pytest.raises(FileNotFoundError, match=says):
        DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset, pipeline=[]))


def test_a_class_that_the_file_lacks_is_one_line(fruit, read):
    from mmdet.registry import DATASETS

    cfg = read(DETECTORS[3], data_root=str(fruit), classes=['apple', 'plum'])
    with pytest.raises(DataError, match=r'lacks 1 of the 2 .* \(plum\); it has apple, pear$'):
        DATASETS.build(dict(cfg.val_dataloader.dataset, pipeline=[]))


@pytest.mark.parametrize('text', [
    '{"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "images": [], "more": 1}',
    '{"images": [{"id": 1, "file_name": "x", "width": 3, "height": 3, "categories": 3}],'
    ' "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}',
])  # fmt: skip
def test_names_of_categories_are_found_without_the_rest(tmp_path, text):
    path = tmp_path / 'a.json'
    path.write_text(text)
    assert category_names(str(path)) == ['a', 'b']
    path.write_text(text.replace('"b"', 'null'))
    with pytest.raises(DataError, match='category 2 has no name'):
        category_names(str(path))
    path.write_text('')
    with pytest.raises(DataError, match='is no JSON'):
        category_names(str(path))


def test_own_masks_are_read_as_they_are_named(tmp_path):
    from flsl_mm.segmentation import CheckedMaskDataset

    for folder in ('images', 'masks'):
        (tmp_path / folder / 'deep').mkdir(parents=True)
    for name in ('a.png', 'deep/b.jpg', 'c.tif'):
        Image.new('RGB', (4, 3)).save(tmp_path / 'images' / name)
        mask = np.array([[0, 1, 2, 255]] * 3, np.uint8)
        Image.fromarray(mask).save((tmp_path / 'masks' / name).with_suffix('.png'))
    prefix = dict(img_path='images', seg_map_path='masks')
    arguments = dict(data_root=str(tmp_path), data_prefix=prefix)

    def labels(**options) -> list[int]:
        pipeline = [dict(type='mmseg.LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')]
        dataset = CheckedMaskDataset(**arguments, **options, pipeline=pipeline)
        assert len(dataset) == 3
        return dataset[0]['gt_seg_map'][0].tolist()

    assert labels(metainfo=dict(classes=['x', 'y', 'z'])) == [0, 1, 2, 255]
    two = dict(metainfo=dict(classes=['y', 'z']))
    assert labels(**two, reduce_zero_label=True) == [255, 0, 1, 255]
    with pytest.raises(DataError, match=r'has labels above 1: 2; 0\.\.1 are .*, 255 is ignored$'):
        labels(**two)
    with pytest.raises(ConfigError, match='has 0 names, masks have 1 to 255'):
        CheckedMaskDataset(**arguments)

"""COCO-style files as other tools write them: mended alike for all readers, or refused."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')
from pycocotools import mask as mask_api  # noqa: E402

from flsl_mm.datasets import InstanceImages  # noqa: E402
from flsl_mm.datasets.checked_coco_dataset import CheckedCocoDataset  # noqa: E402
from flsl_mm.datasets.coco_file import read_coco_file  # noqa: E402
from flsl_mm.evaluation import StandardCocoMetric  # noqa: E402
from flsl_mm.utils.errors import ConfigError, DataError  # noqa: E402

POLYGON = [8, 8, 40, 8, 40, 32, 8, 32]
POINTS = [POLYGON[i : i + 2] for i in range(0, 8, 2)]
RUNS = dict(size=[48, 64], counts=[8 * 48 + 8] + [24, 24] * 31 + [24, 48 * 64 - 39 * 48 - 32])
CONTENT = dict(
    images=[dict(id=i, file_name=f'{i}.png', width=64, height=48) for i in (3, 8)],
    categories=[dict(id=7, name='cat'), dict(id=90, name='dog')],
    annotations=[
        dict(
            dict(id=number, image_id=image, category_id=category, iscrowd=0, area=768),
            bbox=[8, 8, 32, 24],
            segmentation=[POLYGON],
        )
        for number, (image, category) in enumerate([(3, 7), (8, 7), (8, 90)], 1)
    ],
)
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]


def each(**fields):
    """A change of all annotations; ``None`` takes a field away."""

    def change(content: dict) -> None:
        for annotation in content['annotations']:
            annotation.update(fields)
            for key in [key for key, value in fields.items() if value is None]:
                del annotation[key]

    return change


def first(**fields):
    """A change of the first annotation."""
    return lambda content: content['annotations'][0].update(fields)


def ids(*values):
    def change(content: dict) -> None:
        for annotation, value in zip(content['annotations'], values):
            annotation['id'] = value

    return change


def text_ids(content: dict) -> None:
    for annotation in content['annotations']:
        annotation['image_id'] = str(annotation['image_id'])


def image_ids(change):
    """A change of the ids of images, also where they are named."""

    def apply(content: dict) -> None:
        for image in content['images']:
            image['id'] = change(image['id'])
        for annotation in content['annotations']:
            annotation['image_id'] = change(annotation['image_id'])

    return apply


def category_ids(change):
    """A change of the ids of categories, also where they are named."""

    def apply(content: dict) -> None:
        for category in content['categories']:
            category['id'] = change(category['id'])
        for annotation in content['annotations']:
            annotation['category_id'] = change(annotation['category_id'])

    return apply


def images(**fields):
    """A change of all images; a function gets what was there."""

    def change(content: dict) -> None:
        for image in content['images']:
            image.update({k: v(image.get(k)) if callable(v) else v for k, v in fields.items()})

    return change


def compressed(counts: str | None = None) -> dict:
    runs = mask_api.frPyObjects(RUNS, 48, 64)
    return dict(size=[48, 64], counts=runs['counts'].decode() if counts is None else counts)


@pytest.fixture
def write(tmp_path):
    """Writes the content with a change, and its images; the path of the file."""

    def write(change=lambda content: None, name='annotations.json') -> str:
        content = copy.deepcopy(CONTENT)
        change(content)
        for image in CONTENT['images']:
            Image.new('RGB', (64, 48)).save(tmp_path / image['file_name'])
        (tmp_path / name).write_text(json.dumps(content))
        return str(tmp_path / name)

    return write


def dataset_of(path: str, tmp_path, **options) -> CheckedCocoDataset:
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    settings = dict(
        ann_file=path,
        data_prefix=dict(img=str(tmp_path)),
        metainfo=dict(classes=('cat', 'dog')),
        pipeline=PIPELINE,
    )
    return CheckedCocoDataset(**{**settings, **options})


def perfect_scores(dataset: CheckedCocoDataset) -> dict[str, float]:
    """The metric of detections that are the data set's own objects."""
    metric = StandardCocoMetric()
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        objects = dataset.get_data_info(index)['instances']
        mask = mask_api.frPyObjects([POLYGON], 48, 64)[0]
        pred = dict(
            bboxes=torch.tensor([o['bbox'] for o in objects], dtype=torch.float).reshape(-1, 4),
            scores=torch.ones(len(objects)),
            labels=torch.tensor([o['bbox_label'] for o in objects], dtype=torch.long),
            masks=[copy.copy(mask) for _ in objects],
        )
        sample = dict(img_id=dataset.get_data_info(index)['img_id'], ori_shape=(48, 64))
        metric.process({}, [dict(sample, pred_instances=pred)])
    return metric.evaluate(len(dataset))


MENDED = {
    'ids from 0': (ids(0, 1, 2), 'an id that changes'),
    'text ids': (ids('a', 'b', 'c'), 'an id that changes'),
    'repeated ids': (ids(1, 1, 1), 'an id that changes'),
    'no ids': (each(id=None), 'an id that changes'),
    'no iscrowd': (each(iscrowd=None), 'no iscrowd'),
    'no area': (each(area=None), 'no number as area'),
    'text as area': (each(area='large'), 'no number as area'),
    'no box': (each(bbox=None), 'no bbox'),
    'a flat polygon': (each(segmentation=POLYGON), 'polygons written as one list'),
    'points': (each(segmentation=[POINTS]), 'polygons written as one list or as points'),
    'points of one polygon': (each(segmentation=POINTS), 'polygons written as one list'),
    'an empty polygon besides': (each(segmentation=[[], POLYGON]), 'less than three points'),
    'a line besides': (each(segmentation=[[1, 1, 5, 5], POLYGON]), 'less than three points'),
    'an odd number besides': (each(segmentation=[POLYGON, POLYGON[:7]]), 'less than three'),
    'text for numbers': (text_ids, '3 with a number written as text for image_id'),
    'an object without polygons': (first(segmentation=[[]]), '1 with no usable polygon: left out'),
    'an object that is a line': (first(segmentation=[[1, 1, 5, 5]]), 'no usable polygon'),
    'runs': (each(segmentation=RUNS), None),
    'compressed runs': (each(segmentation=compressed()), None),
    'names of Windows': (
        images(file_name=lambda name: f'.\\{name}'),
        '2 with backslashes in file_name: taken as /',
    ),
    'names with a folder': (images(file_name=lambda name: f'./{name}'), None),
    'two images of a file': (images(file_name='3.png'), '1 with the file_name of another image'),
    'text as image ids': (image_ids(lambda i: f'image-{i}'), None),
    'image ids from 0': (image_ids(lambda i: i - 3), None),
    'image ids with a point': (image_ids(float), None),
    'very large image ids': (image_ids(lambda i: i + 2**60), None),
    'category ids from 0': (category_ids(lambda i: i - 7), None),
    'text as category ids': (category_ids(str), None),
    'sizes as text': (images(width='64', height='48.0'), None),
    'a crowd, no object': (first(iscrowd=1, segmentation=RUNS), None),
    'truth values as iscrowd': (each(iscrowd=False), None),
    'corners as a box': (first(bbox=[8, 8, 40, 48]), '1 with a box that reaches beyond the image'),
    'a box in another place': (first(bbox=[44, 34, 9, 9]), 'elsewhere than its polygons'),
    'sides of the box exchanged': (
        first(bbox=[8, 8, 4, 39]),
        'a box that is elsewhere than its polygons',
    ),
}


@pytest.mark.parametrize('case', MENDED)
def test_what_can_be_mended_is_counted_and_scores_1(write, tmp_path, case, caplog):
    change, message = MENDED[case]
    path = write(change)
    lines = _warnings_of(path)
    assert any(message in line for line in lines) if message else not lines
    training = dataset_of(path, tmp_path)
    assert all(len(sample['data_samples'].gt_instances) for sample in training) or 'object' in case
    scores = perfect_scores(dataset_of(path, tmp_path, test_mode=True))
    assert scores['coco/bbox_mAP'] == scores['coco/segm_mAP'] == 1.0
    images = InstanceImages(path, str(tmp_path))
    assert (images[1].labels[8:32, 8:40] > 0).all() and len(images[1].boxes) == 2


def _warnings_of(path: str) -> list[str]:
    from unittest.mock import patch

    with patch('flsl_mm.datasets.coco_file.MMLogger.get_current_instance') as logger:
        read_coco_file(path, masks=True)
    return [call.args[0] for call in logger.return_value.warning.call_args_list]


REFUSED = {
    'repeated image ids': (lambda c: c['images'][1].update(id=3), '2 images have the id 3'),
    'a width of -1': (
        lambda c: c['images'][0].update(width=-1),
        'image 3 has no whole number of pixels as width: -1',
    ),
    'two categories of one name': (
        lambda c: c['categories'][1].update(name='cat'),
        "2 categories have the name 'cat'",
    ),
    'ids that cannot be one kind': (
        lambda c: c['images'][0].update(id='x'),
        "has numbers and text as image_id: 'x'",
    ),
    'fractions': (each(bbox=[0.1, 0.1, 0.5, 0.5]), 'all boxes are within 0..1'),
    'no area at all': (each(area=0), 'none of its 3 objects can be used: 3 with an area of 0'),
    'all boxes outside': (each(bbox=[80, 8, 9, 9]), 'none of its 3 objects can be used: .*outside'),
    'an odd iscrowd': (first(iscrowd='x'), "annotation 1 has an iscrowd that is neither .*'x'"),
    'not finite': (first(bbox=[1, 2, float('nan'), 4]), 'bbox that is not four numbers'),
    'runs of another size': (first(segmentation=dict(RUNS, size=[64, 48])), 'its image 64 x 48'),
    'runs that do not fill': (first(segmentation=dict(RUNS, counts=[9])), 'do not fill the mask'),
    'runs of nothing': (first(segmentation=compressed('')), 'do not fill the mask'),
    'runs that end early': (first(segmentation=compressed('\x7f\x7f')), 'do not fill the mask'),
    'runs cut off': (first(segmentation=compressed(compressed()['counts'][:-2])), 'cannot be read'),
    'crowds alone': (
        each(iscrowd=1, segmentation=RUNS),
        'none of its 3 objects can be used: 3 with the mark "iscrowd"',
    ),
    'annotations by id': (
        lambda c: c.update(annotations={'1': c['annotations'][0]}),
        'its annotations are a dict, no list',
    ),
    'segments of panoptic files': (
        lambda c: [a.pop('category_id') for a in c['annotations']],
        'annotation 1 has no category_id',
    ),
    'an infinite box': (first(bbox=[1, 2, float('inf'), 4]), 'bbox that is not four numbers'),
    'text as a box': (first(bbox=['1', '2', '3', '4']), 'bbox that is not four numbers'),
    'corners of a box': (first(bbox=[[8, 8], [40, 32]]), 'bbox that is not four numbers'),
    'a truth value as an id': (lambda c: c['images'][0].update(id=True), 'as id: True'),
    'half a pixel': (images(width=63.5), 'no whole number of pixels as width: 63.5'),
    'a word': (first(segmentation='mask'), "neither polygons nor RLE: 'mask'"),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_cannot_be_mended_is_one_line_for_every_reader(write, tmp_path, case):
    change, message = REFUSED[case]
    path = write(change)
    for read in (
        lambda: dataset_of(path, tmp_path),
        lambda: dataset_of(path, tmp_path, test_mode=True),
        lambda: StandardCocoMetric(ann_file=path),
        lambda: InstanceImages(path, str(tmp_path)),
    ):
        with pytest.raises(DataError, match=f'annotation file {path}: .*{message}') as error:
            read()
        assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'fields, reason',
    [
        (dict(area=0), 'an area of 0 or less'),
        (dict(bbox=[0.1, 0.2, 0.3, 0.4]), 'a box of less than a pixel'),
        (dict(bbox=[70, 8, 9, 9]), 'a box outside the image'),
        (dict(ignore=1), 'the mark "ignore"'),
    ],
)
def test_objects_that_training_leaves_out_are_counted(write, tmp_path, fields, reason):
    path = write(first(**fields))
    expected = f'annotation file {path}: 1 with {reason}: left out in training (the first is'
    assert any(line.startswith(expected) for line in _warnings_of(path))
    assert len(dataset_of(path, tmp_path)[0]['data_samples'].gt_instances) == 0


def test_classes_without_any_object_left_are_not_trained_on(write, tmp_path):
    path = write(lambda content: content['annotations'][2].update(area=0))
    with pytest.raises(DataError, match='is left with an object of the classes'):
        dataset_of(path, tmp_path, metainfo=dict(classes=('dog',)))


def test_the_evaluator_s_file_is_that_of_the_data_set(write, tmp_path):
    path, copied = write(), write(name='copy.json')
    other = write(lambda content: content['annotations'].pop(), name='other.json')
    meta = dataset_of(path, tmp_path, test_mode=True).metainfo
    for ann_file in (None, path, copied):
        StandardCocoMetric(ann_file=ann_file).dataset_meta = meta
    with pytest.raises(ConfigError, match='ann_file .*other.json is not that of the data set'):
        StandardCocoMetric(ann_file=other).dataset_meta = meta
    assert 'ann_file' not in dataset_of(path, tmp_path).metainfo  # checkpoints hold no paths


def test_masks_to_evaluate_are_needed_before_training(write):
    path = write(first(segmentation=None))
    with pytest.raises(DataError, match=r'annotation 1 has no segmentation \(1 of 3'):
        StandardCocoMetric(ann_file=path)
    StandardCocoMetric(ann_file=path, metric='bbox')


def test_a_file_of_a_windows_editor_is_read(write):
    path = write()
    with open(path, 'rb+') as file:
        content = file.read()
        file.seek(0)
        file.write(b'\xef\xbb\xbf' + content)
    assert read_coco_file(path) == read_coco_file(write(name='plain.json'))


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('name', ['4.png', 'val/3.png', '3.PNG', '3.png ', '../3.png'])
def test_images_that_are_not_there_are_named_before_training(write, tmp_path, name, test_mode):
    path = write(lambda content: content['images'][0].update(file_name=name))
    with pytest.raises(FileNotFoundError, match=f'1 of 2 images of {path} are missing, .*{name}'):
        dataset_of(path, tmp_path, test_mode=test_mode)


@pytest.mark.parametrize('content', [b'', b'\x00' * 30, None])
def test_an_image_that_is_not_whole_is_named(write, tmp_path, content):
    dataset = dataset_of(write(), tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'whole.jpg')
    whole = (tmp_path / 'whole.jpg').read_bytes()
    (tmp_path / '3.png').write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError, match='failed to load image: .*3.png: ') as error:
        dataset[0]
    assert '\n' not in str(error.value)

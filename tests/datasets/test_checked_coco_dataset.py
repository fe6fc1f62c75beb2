"""Annotations as people have them: wrong, odd or absent."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from PIL import Image

pytest.importorskip('mmdet')

from mmdet.registry import DATASETS, MODELS  # noqa: E402

from flsl_mm.datasets.checked_coco_dataset import CheckedCocoDataset  # noqa: E402
from flsl_mm.utils.errors import DataError  # noqa: E402

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]
GOOD = dict(
    images=[dict(id=i, file_name=f'{i}.png', width=64, height=64) for i in (3, 8)],
    # Ids with gaps, as COCO's own.
    categories=[dict(id=7, name='cat'), dict(id=90, name='dog')],
    annotations=[
        dict(
            id=image,
            image_id=image,
            category_id=90,
            bbox=[8, 8, 32, 24],
            area=768,
            iscrowd=0,
            segmentation=[[8, 8, 40, 8, 40, 32, 8, 32]],
        )
        for image in (3, 8)
    ],
)


@pytest.fixture
def make_dataset(tmp_path):
    """Builds the dataset of an annotation file's content, with its images."""
    init_default_scope('mmdet')
    for image in GOOD['images']:
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / image['file_name'])

    def make(content: dict | str, classes=('cat', 'dog'), **kwargs) -> CheckedCocoDataset:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / 'annotations.json').write_text(text)
        return DATASETS.build(
            dict(
                type='CheckedCocoDataset',
                **dict(
                    dict(
                        ann_file=str(tmp_path / 'annotations.json'),
                        data_prefix=dict(img=str(tmp_path)),
                        metainfo=dict(classes=classes),
                        filter_cfg=dict(filter_empty_gt=True, min_size=32),
                        pipeline=PIPELINE,
                    ),
                    **kwargs,
                ),
            )
        )

    return make


def changed(**fields) -> dict:
    """The good content with other fields in the annotations of the first image."""
    content = copy.deepcopy(GOOD)
    content['annotations'][0].update(fields)
    return content


def test_category_ids_may_have_gaps(make_dataset):
    dataset = make_dataset(GOOD)
    assert [int(item['data_samples'].gt_instances.labels[0]) for item in dataset] == [1, 1]


@pytest.mark.parametrize('box', [[8, 8, 0, 24], [8, 8, 0.5, 24], [80, 8, 10, 10], [8, -20, 10, 10]])
def test_boxes_without_area_in_the_image_are_left_out(make_dataset, box):
    content = changed(bbox=box)
    content['annotations'].append(dict(GOOD['annotations'][0], id=99))
    dataset = make_dataset(content)
    assert len(dataset) == 2 and len(dataset[0]['data_samples'].gt_instances) == 1


def test_annotations_of_images_that_were_not_selected_are_left_out(make_dataset, capsys):
    MMLogger.get_instance('test_annotations_of_images')  # writes to this test's output
    content = copy.deepcopy(GOOD)
    content['images'].pop(0)
    assert len(make_dataset(content)) == 1
    assert 'left out with all like it: annotation 3 belongs to the' in capsys.readouterr().out


def test_masks_loaded_by_a_nested_transform_are_missed_too(make_dataset):
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomChoice', transforms=[[load]]),
        dict(type='PackDetInputs'),
    ]
    content = copy.deepcopy(GOOD)
    for annotation in content['annotations']:
        annotation.pop('segmentation', None)
    with pytest.raises(DataError, match='have no segmentation'):
        make_dataset(content, pipeline=pipeline)


def test_images_without_annotations_are_left_out_in_training_only(make_dataset):
    content = copy.deepcopy(GOOD)
    content['annotations'].pop(0)
    assert len(make_dataset(content)) == 1
    assert len(make_dataset(content, test_mode=True)) == 2


def test_a_missing_annotation_file_is_named(make_dataset):
    with pytest.raises(FileNotFoundError, match='there is no annotation file .*absent.json'):
        make_dataset(GOOD, ann_file='absent.json')


def test_a_broken_annotation_file_is_named(make_dataset):
    with pytest.raises(ValueError, match='annotation file .*annotations.json'):
        make_dataset('{"images": [')


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.pop('images'), 'has no images'),
        (lambda c: c.pop('categories'), 'has no categories'),
        (
            lambda c: c['annotations'][1].update(bbox=[1, 2, 3]),
            'annotation 8 has a bbox that is not',
        ),
        (lambda c: c['images'][0].pop('width'), 'image 3 has no width'),
        (lambda c: c['images'][0].pop('file_name'), 'image 3 has no file_name'),
        (lambda c: c['categories'][0].pop('name'), 'category 7 has no name'),
        (
            lambda c: c['annotations'][1].update(category_id=8),
            'annotation 8 has the unknown category 8',
        ),
        (
            lambda c: c['annotations'][1].update(image_id=[8]),
            r'annotation 8 has no number or text as image_id: \[8\]',
        ),
    ],
)
def test_entries_that_lack_something_are_one_clear_line(make_dataset, change, message):
    content = copy.deepcopy(GOOD)
    change(content)
    with pytest.raises(
        DataError, match=f'annotation file .*annotations.json: .*{message}'
    ) as error:
        make_dataset(content)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('segmentation', [None, []])
def test_masks_are_needed_where_the_pipeline_loads_them(make_dataset, segmentation):
    content = changed(segmentation=segmentation)
    message = '1 of 2 annotations have no segmentation, the first is of 3.png, .* with_mask=False'
    for test_mode in (False, True):
        with pytest.raises(DataError, match=f'annotations.json: {message}') as error:
            make_dataset(content, test_mode=test_mode)
        assert '\n' not in str(error.value)
    boxes = [PIPELINE[0], dict(PIPELINE[1], with_mask=False), PIPELINE[2]]
    assert len(make_dataset(content, pipeline=boxes)[0]['data_samples'].gt_instances) == 1


def test_what_is_left_out_needs_no_mask(make_dataset):
    assert len(make_dataset(changed(bbox=[8, 8, 0, 24], segmentation=None))) == 2


def test_a_file_that_is_a_list_is_refused(make_dataset):
    with pytest.raises(DataError, match='annotations.json: .* not supported'):
        make_dataset('[]')


def test_images_to_test_on_need_no_annotations(make_dataset):
    content = {key: value for key, value in GOOD.items() if key != 'annotations'}
    assert len(make_dataset(content, test_mode=True)) == 2


def test_classes_that_the_file_lacks_are_named(make_dataset):
    with pytest.raises(ValueError, match=r'lacks 1 of the 3 classes of the config \(bird\)'):
        make_dataset(GOOD, classes=('cat', 'dog', 'bird'))


def test_categories_of_the_file_that_are_no_classes_are_left_out(make_dataset):
    content = copy.deepcopy(GOOD)
    extra = dict(content['annotations'][0], id=99, category_id=7)
    content['annotations'].append(extra)
    dataset = make_dataset(content, classes=('dog',))
    assert [item['data_samples'].gt_instances.labels.tolist() for item in dataset] == [[0], [0]]


def test_labels_are_in_the_order_of_the_classes(make_dataset):
    dataset = make_dataset(GOOD, classes=('dog', 'cat'))
    assert [int(item['data_samples'].gt_instances.labels[0]) for item in dataset] == [0, 0]


def test_no_image_to_train_on_is_an_error(make_dataset):
    with pytest.raises(ValueError, match='none of its 2 images is left'):
        make_dataset(dict(GOOD, annotations=[]))


def test_a_missing_image_is_named(make_dataset, tmp_path):
    dataset = make_dataset(GOOD)
    (tmp_path / '3.png').unlink()
    with pytest.raises(FileNotFoundError, match='3.png'):
        dataset[0]


def test_a_broken_image_is_named(make_dataset, tmp_path):
    dataset = make_dataset(GOOD)
    (tmp_path / '3.png').write_bytes(b'no image')
    with pytest.raises(DataError, match='failed to load image: .*3.png: no image of'):
        dataset[0]


@pytest.mark.parametrize('network', ['vits16_fpn_1x', 'vitb16_vitdet_100e'])
def test_a_batch_of_crowds_only_trains_to_finite_losses(make_dataset, shrink_coco, network):
    crowd = dict(counts=[8 * 64 + 8, 24, 64 * 64 - 8 * 64 - 32], size=[64, 64])
    dataset = make_dataset(changed(iscrowd=1, segmentation=crowd))
    samples = [dataset[0], dataset[0]]
    assert len(samples[0]['data_samples'].gt_instances) == 0
    assert len(samples[0]['data_samples'].ignored_instances) == 1
    model = MODELS.build(shrink_coco(f'mask-rcnn_flsl-{network}_coco').model)
    batch = dict(
        inputs=[s['inputs'] for s in samples], data_samples=[s['data_samples'] for s in samples]
    )
    loss, _ = model.parse_losses(
        model(**model.data_preprocessor(batch, training=True), mode='loss')
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)

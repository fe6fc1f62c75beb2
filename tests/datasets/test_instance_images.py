import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('pycocotools')

from flsl_mm.datasets import InstanceImages  # noqa: E402
from flsl_mm.utils.errors import DataError  # noqa: E402


def square(x: int, y: int, side: int, category: int, number: int) -> dict:
    polygon = [x, y, x + side, y, x + side, y + side, x, y + side]
    return dict(
        dict(id=number, image_id=5, category_id=category, iscrowd=0, area=side * side),
        bbox=[x, y, side, side],
        segmentation=[polygon],
    )


@pytest.fixture
def write(tmp_path):
    """Writes an image of 10 x 8 pixels and its annotations, and reads them."""

    def build(annotations: list[dict], change=lambda content: None) -> InstanceImages:
        Image.new('RGB', (10, 8)).save(tmp_path / 'a.png')
        content = dict(
            images=[dict(id=5, file_name='a.png', height=8, width=10)],
            categories=[dict(id=30, name='cat'), dict(id=7, name='dog')],
            annotations=annotations,
        )
        change(content)
        path = tmp_path / 'instances.json'
        path.write_text(json.dumps(content))
        return InstanceImages(str(path), str(tmp_path))

    return build


def test_categories_are_classes_by_id_and_the_rest_is_class_0(write):
    data = write([square(0, 0, 4, 30, 1), square(6, 4, 4, 7, 2)])
    labels = data[0].labels
    assert data.num_classes == 3
    assert (labels[:4, :4] == 2).all() and (labels[4:, 6:] == 1).all()
    assert (labels == 0).sum() == 80 - 32
    assert data[0].boxes.tolist() == [[0, 0, 4, 4], [6, 4, 10, 8]]


def test_polygons_of_less_than_three_points_are_left_out(write):
    annotation = square(0, 0, 4, 30, 1)
    for line in ([1, 1, 6, 6], [1, 1], []):
        labels = write([dict(annotation, segmentation=[line, *annotation['segmentation']])])[
            0
        ].labels
        assert (labels[:4, :4] == 2).all() and (labels == 2).sum() == 16
        other = square(6, 6, 2, 7, 2)
        sample = write([dict(annotation, segmentation=[line]), other])[0]
        assert not sample.labels[:4, :4].any() and len(sample.boxes) == 1


def test_the_smallest_instance_is_on_top_whatever_the_order(write):
    large, small = square(0, 0, 8, 30, 1), square(2, 2, 3, 7, 2)
    for annotations in ([large, small], [small, large]):
        labels = write(annotations)[0].labels
        assert (labels[2:5, 2:5] == 1).all() and (labels[:8, :2] == 2).all()


def test_crowds_are_ignored_but_for_the_instances_in_them(write):
    counts = [0, 40, 40]  # column by column: the left five
    crowd = dict(
        square(0, 0, 5, 30, 1),
        iscrowd=1,
        segmentation=dict(size=[8, 10], counts=counts),
    )
    data = write([square(1, 1, 2, 7, 2), crowd])
    labels = data[0].labels
    assert (labels[1:3, 1:3] == 1).all()
    assert (labels[:, :5] == -1).sum() == 36 and (labels[:, 5:] == 0).all()
    assert data[0].boxes.tolist() == [[1, 1, 3, 3]]


def test_boxes_are_cut_at_the_image_and_those_without_area_left_out(write):
    outside = dict(square(0, 0, 2, 7, 1), bbox=[8, -3, 9, 5])
    flat = dict(square(0, 0, 2, 7, 2), bbox=[1, 1, 0, 4])
    assert write([outside, flat])[0].boxes.tolist() == [[8, 0, 10, 2]]


def test_an_image_without_instances_is_all_class_0(write):
    def add_image(content):
        content['images'].insert(0, dict(id=2, file_name='a.png', height=8, width=10))

    sample = write([square(0, 0, 4, 30, 1)], add_image)[0]
    assert not sample.labels.any() and sample.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c.update(images=[]), 'instances.json: has no images'),
        (lambda c: c.update(annotations=[]), 'instances.json: has no annotations'),
        (lambda c: c.pop('categories'), 'instances.json: has no categories'),
        (lambda c: c['annotations'][0].pop('segmentation'), 'annotation 1 has no segmentation'),
        (
            lambda c: c['annotations'][0].update(bbox=[1, 2, 3]),
            'annotation 1 has a bbox that is not',
        ),
        (lambda c: c['images'][0].pop('id'), r'instances.json: images\[0\] has no id'),
        (lambda c: c['images'][0].pop('file_name'), 'image 5 has no file_name'),
        (lambda c: c['categories'][1].pop('id'), r'categories\[1\] has no id'),
        (lambda c: c['annotations'].append(3), r'annotations\[1\] is no object but 3'),
        (lambda c: c['annotations'][0].update(category_id=8), 'unknown category 8'),
        (lambda c: c['annotations'][0].update(image_id=8), 'unknown image 8'),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(write, change, message):
    with pytest.raises(DataError, match=message) as error:
        write([square(0, 0, 4, 30, 1)], change)
    assert '\n' not in str(error.value)


def test_a_size_or_segmentation_that_does_not_fit_is_one_line(write):
    data = write([square(0, 0, 4, 30, 1)], lambda c: c['images'][0].update(height=9))
    with pytest.raises(DataError, match=r'says that .*a.png is 10 x 9 pixels; it is 10 x 8'):
        data[0]
    wrong = dict(square(0, 0, 4, 30, 1), segmentation=dict(size=[4, 4], counts=[0, 16]))
    with pytest.raises(DataError, match='annotation 1: its segmentation cannot be read'):
        write([wrong])[0]


def test_missing_files_are_named(write, tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no annotation file nowhere.json'):
        InstanceImages('nowhere.json', '.')
    with pytest.raises(FileNotFoundError, match=r'1 of 1 images .* missing, the first is .*b.png'):
        write([square(0, 0, 4, 30, 1)], lambda c: c['images'][0].update(file_name='b.png'))
    (tmp_path / 'broken.json').write_text('{')
    with pytest.raises(DataError, match='broken.json is no JSON'):
        InstanceImages(str(tmp_path / 'broken.json'), '.')


def test_the_samples_of_coco_have_a_label_in_every_box(shared_dir):
    root = shared_dir / 'data/coco'
    data = InstanceImages(
        str(root / 'annotations/instances_val2017.json'), str(root / 'images/val2017')
    )
    assert data.num_classes == 81
    for sample in data:
        assert np.asarray(sample.image).shape[:2] == sample.labels.shape
        for x1, y1, x2, y2 in sample.boxes.round().astype(int):
            assert (sample.labels[y1 : y2 + 1, x1 : x2 + 1] != 0).any()

"""Boxes from the XML file through resizing and cropping to the points in the crop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from flsl_mm.datasets import Unusable, UnusableSample
from flsl_mm.datasets.transforms import (
    CenterCropBoxes,
    LargestBoxGrid,
    LoadImageNetBoxes,
    ResizeShortSide,
)


def load(path, width=80, height=60):
    return LoadImageNetBoxes()(dict(ann_path=str(path), ori_shape=(height, width)))


def test_boxes_are_read_with_their_classes(tmp_path, write_boxes):
    boxes = [(10, 20, 40, 50), (0, 0, 79, 59)]
    results = load(write_boxes(tmp_path / 'a.xml', boxes=boxes))
    assert results['boxes'].tolist() == np.array(boxes, float).tolist()
    assert results['box_classes'] == ['n01', 'n01']


def test_boxes_count_in_pixels_of_the_annotated_size(tmp_path, write_boxes):
    results = load(write_boxes(tmp_path / 'a.xml', size=(160, 120)))
    assert results['boxes'].tolist() == [[5, 10, 20, 25]]


@pytest.mark.parametrize(
    'content, reason, message',
    [
        ('<annotation><size>', Unusable.BAD_ANNOTATION, 'a.xml cannot be read'),
        ('<annotation></annotation>', Unusable.BAD_ANNOTATION, 'a.xml cannot be read'),
        (dict(boxes=[(1, 'x', 2, 3)]), Unusable.BAD_ANNOTATION, 'a.xml cannot be read'),
        (dict(size=(0, 60)), Unusable.BAD_ANNOTATION, 'a.xml has a size of 0 x 60'),
        (dict(boxes=()), Unusable.NO_BOX, 'a.xml has no box'),
        (dict(size=(60, 80)), Unusable.OTHER_SIZE, 'for 60 x 80 pixels, the image has 80 x 60'),
    ],
)
def test_annotations_that_cannot_be_used_say_why(tmp_path, write_boxes, content, reason, message):
    path = tmp_path / 'a.xml'
    if isinstance(content, str):
        path.write_text(content)
    else:
        write_boxes(path, **content)
    with pytest.raises(UnusableSample, match=message) as error:
        load(path)
    assert error.value.reason == reason


def test_a_missing_annotation_says_so(tmp_path):
    with pytest.raises(UnusableSample, match='a.xml cannot be read'):
        load(tmp_path / 'a.xml')


@pytest.mark.parametrize('size', [(80, 60), (60, 80), (333, 500), (64, 64), (257, 1000)])
def test_sizes_and_places_are_those_of_torchvision(size):
    from torchvision.transforms import functional as F

    image = Image.effect_noise(size, 50).convert('RGB')
    results = CenterCropBoxes(48)(ResizeShortSide(56)(dict(img=np.array(image))))
    expected = F.center_crop(F.resize(image, 56, F.InterpolationMode.BICUBIC), 48)
    assert np.array_equal(np.array(results['img']), np.array(expected))


@given(
    width=st.integers(40, 400),
    height=st.integers(40, 400),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_a_box_stays_on_what_it_marks(width, height, x, y):
    """A gradient image tells where each pixel came from: the box's corner must agree."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    corner = np.array([x * width, y * height])
    box = np.concatenate([corner, corner])[None]
    for values, axis, length in ((columns, 0, width), (rows, 1, height)):
        picture = np.rint(values * 255 / length).astype(np.uint8)
        results = CenterCropBoxes(32)(ResizeShortSide(36)(dict(img=picture, boxes=box)))
        place = results['boxes'][0, :2]
        if 1 <= place.min() and place.max() <= 31:  # inside the crop
            pixels = np.array(results['img'])
            profile = pixels[16] if axis == 0 else pixels[:, 16]
            # Pixel i of the picture covers i to i + 1, its value is that of its middle.
            found = np.interp(place[axis] - 0.5, np.arange(32), profile) * length / 255 + 0.5
            assert found == pytest.approx(corner[axis], abs=0.03 * length)


def test_an_image_smaller_than_the_crop_is_refused():
    with pytest.raises(ValueError, match='80 x 60 pixels has no crop of 64'):
        CenterCropBoxes(64)(dict(img=np.zeros((60, 80, 3), np.uint8)))


def grid(*boxes, cells=3, classes=None):
    classes = classes or ['n01'] * len(boxes)
    return LargestBoxGrid(cells)(dict(boxes=np.array(boxes, float), box_classes=classes))


def test_points_are_the_centers_of_the_cells_row_by_row():
    points = grid((10, 20, 40, 80))['points']
    assert points[:3].tolist() == [[15, 30], [25, 30], [35, 30]]
    assert points[3:].tolist() == [[15, 50], [25, 50], [35, 50], [15, 70], [25, 70], [35, 70]]


def test_the_largest_box_after_cropping_is_taken():
    """The first box is larger, but most of it is outside."""
    results = dict(
        img=np.zeros((40, 100, 3), np.uint8),
        boxes=np.array([[0, 0, 35, 40], [40, 5, 65, 35]], float),
        box_classes=['n01', 'n02'],
    )
    results = LargestBoxGrid()(CenterCropBoxes(40)(results))
    assert results['box_class'] == 'n02'
    assert results['points'].mean(axis=0).tolist() == [22.5, 20]


@pytest.mark.parametrize('box', [(5, 5, 5, 20), (0, 0, 0, 0), (20, 5, 10, 20)])
def test_a_box_without_area_in_the_crop_is_unusable(box):
    with pytest.raises(UnusableSample, match='none of its 1 boxes reaches') as error:
        grid(box)
    assert error.value.reason == Unusable.BOX_OUTSIDE_CROP


def test_a_config_of_an_earlier_run_still_finds_the_crop():
    assert isinstance(TRANSFORMS.build(dict(type='CentreCrop', size=32)), CenterCropBoxes)

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop

from flsl_mm.datasets.transforms.teacher_crop import (
    CROP_TRIES,
    CROP_UNIFORMS,
    RATIO,
    check_crop_range,
    sample_crop_boxes,
)


def plain_crop_box(height, width, scale, ratio, uniforms):
    """torchvision's rule, one try after the other, on given uniform numbers."""
    for i in range(CROP_TRIES):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * uniforms[2 * i])
        low, high = math.log(ratio[0]), math.log(ratio[1])
        aspect = math.exp(low + (high - low) * uniforms[2 * i + 1])
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left = int(uniforms[-2] * (width - w + 1))
            top = int(uniforms[-1] * (height - h + 1))
            return [left, top, left + w, top + h]
    w, h = width, height
    if width / height < ratio[0]:
        h = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        w = max(1, round(height * ratio[1]))
    left, top = (width - w) // 2, (height - h) // 2
    return [left, top, left + w, top + h]


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    low=st.floats(0.01, 1),
    seed=st.integers(0, 2**32),
)
def test_boxes_follow_the_one_by_one_rule_and_lie_inside_the_image(height, width, low, seed):
    uniforms = np.random.default_rng(seed).random((8, CROP_UNIFORMS))
    boxes = sample_crop_boxes(height, width, (low, 1.0), uniforms)
    assert boxes.tolist() == [
        plain_crop_box(height, width, (low, 1.0), RATIO, row) for row in uniforms
    ]
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()


@pytest.mark.parametrize('height, width', [(224, 224), (375, 500), (100, 800)])
@pytest.mark.parametrize('scale', [(0.8, 1.0), (0.05, 0.4)])
def test_boxes_are_distributed_as_torchvision_s(height, width, scale):
    count = 4000
    uniforms = np.random.default_rng(0).random((count, CROP_UNIFORMS))
    ours = sample_crop_boxes(height, width, scale, uniforms)
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    params = [RandomResizedCrop.get_params(image, scale, RATIO) for _ in range(count)]
    theirs = np.array([[j, i, j + w, i + h] for i, j, h, w in params])
    side = np.array([width, height, width, height])
    for q in (5, 25, 50, 75, 95):
        gap = np.percentile(ours, q, axis=0) - np.percentile(theirs, q, axis=0)
        assert (np.abs(gap) / side).max() < 0.03


def test_a_very_long_image_gets_the_largest_centered_box():
    uniforms = np.random.default_rng(0).random((1, CROP_UNIFORMS))
    assert sample_crop_boxes(10, 1000, (0.8, 1.0), uniforms).tolist() == [[493, 0, 506, 10]]
    assert sample_crop_boxes(1000, 9, (0.8, 1.0), uniforms).tolist() == [[0, 494, 9, 506]]


@pytest.mark.parametrize(
    'size, scale, words',
    [
        (0, (0.8, 1.0), 'size'),
        (224, (0.0, 1.0), 'scale'),
        (224, (0.9, 0.8), 'scale'),
        (224, (0.8, 1.1), 'scale'),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_by_name(size, scale, words):
    with pytest.raises(ValueError, match=f'my view: {words}'):
        check_crop_range('my view', size, scale)

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation.functional.object_discovery import box_iou, discover_object

GRID = (12, 16)


def planted(*boxes: tuple[int, int, int, int], offset: float = 3.0, noise: float = 0.02):
    """Tokens of one kind inside the boxes and of another outside, and a part common to all."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.zeros(GRID, dtype=torch.long)
    for x1, y1, x2, y2 in boxes:
        inside[y1:y2, x1:x2] = 1
    kinds = torch.randn(2, 32, generator=generator) + offset
    return kinds[inside.flatten()] + noise * torch.randn(192, 32, generator=generator)


@given(st.integers(0, 10), st.integers(0, 6), st.integers(2, 6), st.integers(2, 6))
def test_a_planted_object_is_found(x, y, width, height):
    box = (x, y, min(x + width, 16), min(y + height, 12))
    assert tuple(discover_object(planted(box), GRID)) == box


def test_only_the_region_with_the_seed_is_boxed():
    boxes = [(1, 1, 4, 4), (9, 6, 13, 9)]
    assert tuple(discover_object(planted(*boxes), GRID)) in boxes


def test_regions_that_touch_at_a_corner_are_two():
    boxes = [(1, 1, 4, 4), (4, 4, 7, 7)]
    assert tuple(discover_object(planted(*boxes), GRID)) in boxes


@pytest.mark.parametrize('tokens', [torch.zeros(192, 8), torch.full((192, 8), 0.5)])
def test_without_any_difference_the_box_is_one_token(tokens):
    assert discover_object(tokens, GRID).tolist() == [0, 0, 1, 1]


def test_iou_is_that_of_the_definition():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 4, 4]], float)
    assert box_iou(boxes[0], boxes).tolist() == pytest.approx([1, 1 / 7, 0, 1 / 4])

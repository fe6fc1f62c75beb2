import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.utils.errors import DataError
from flsl_mm.visualization.query_points import choose_points, parse_point, token_at

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))


def test_whole_numbers_are_pixels_and_others_fractions():
    assert parse_point('0.5,0.25', (10, 20)) == (0.5, 0.25)
    assert parse_point('4, 9', (10, 20)) == (4.5 / 20, 9.5 / 10)
    assert parse_point('1.0,0.0', (10, 20)) == (1.0, 0.0)


@pytest.mark.parametrize('text', ['20,3', '-1,3', '0.5,1.1', 'nan,0.5', '3,10'])
def test_a_point_outside_the_image_is_refused(text):
    with pytest.raises(DataError, match=f'{text} is outside the image of 20 x 10 pixels'):
        parse_point(text, (10, 20))


@pytest.mark.parametrize('text', ['', '3', '1,2,3', 'a,b', '3;4'])
def test_what_is_no_point_is_refused(text):
    with pytest.raises(DataError, match='is no query point: write x,y'):
        parse_point(text, (10, 20))


@given(SIZES, st.integers(1, 16), st.data())
def test_the_token_of_a_pixel_is_the_patch_that_covers_it(size, patch, data):
    height, width = size
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    point = parse_point(f'{x},{y}', size)
    assert token_at(point, size, patch) == y // patch * -(-width // patch) + x // patch


def test_the_far_corner_falls_on_the_last_token():
    assert token_at((1.0, 1.0), (17, 33), 8) == 3 * 5 - 1


def test_points_are_chosen_on_the_largest_region_and_on_what_is_unlike_it():
    groups = torch.zeros(8, 8, dtype=torch.long)
    groups[4:, :4], groups[:3, 5:] = 1, 2
    tokens = torch.eye(3)[groups].flatten(0, 1)
    points = choose_points(tokens, (8, 8), (32, 32), 4, 3)
    first, *others = (int(groups.flatten()[token_at(p, (32, 32), 4)]) for p in points)
    assert first == 0 and sorted(others) == [1, 2]


@given(SIZES, st.integers(1, 16), st.integers(1, 5))
def test_chosen_points_are_different_and_inside(size, patch, number):
    grid = tuple(-(-n // patch) for n in size)
    tokens = torch.randn(grid[0] * grid[1], 4, generator=torch.Generator().manual_seed(0))
    points = choose_points(tokens, grid, size, patch, number)
    assert 1 <= len(points) <= number
    assert len({token_at(p, size, patch) for p in points}) == len(points)
    assert all(0 <= value <= 1 for point in points for value in point)

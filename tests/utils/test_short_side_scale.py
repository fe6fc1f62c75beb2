import pytest

from flsl_mm.utils.images import short_side_scale


@pytest.mark.parametrize(
    'size, scale', [((30, 60), 0.5), ((60, 30), 0.5), ((15, 60), 1), ((1, 300), 0.2)]
)
def test_the_long_side_is_at_most_four_times_as_long_as_the_short_one_is_to_be(size, scale):
    assert short_side_scale(size, 15) == pytest.approx(scale)

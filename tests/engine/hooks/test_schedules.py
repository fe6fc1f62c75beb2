import math

import pytest

from flsl_mm.engine.hooks.schedule_hook import scheduled_value


@pytest.mark.parametrize('kind', ['cosine', 'linear', 'step'])
def test_schedules_start_and_end_where_they_should(kind):
    assert scheduled_value(kind, 0.04, 0.4, 0.0) == pytest.approx(0.04)
    assert scheduled_value(kind, 0.04, 0.4, 1.0) == scheduled_value(kind, 0.04, 0.4, 7.0) == 0.4


@pytest.mark.parametrize(
    'kind, expected',
    [('cosine', 0.4 - 0.36 * 0.5 * (1 + math.cos(math.pi / 4))), ('linear', 0.13), ('step', 0.04)],
)
def test_a_quarter_of_the_way(kind, expected):
    assert scheduled_value(kind, 0.04, 0.4, 0.25) == pytest.approx(expected)


def test_unknown_schedules_are_refused():
    with pytest.raises(ValueError, match='sine'):
        scheduled_value('sine', 0, 1, 0.5)

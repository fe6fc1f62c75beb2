from types import SimpleNamespace

import pytest

from flsl_mm.utils import progress as module
from flsl_mm.utils.progress import format_time, progress


@pytest.fixture
def work(monkeypatch):
    """Goes through five pieces that take some seconds each; returns the lines of the log."""

    def run(seconds: float) -> list[str]:
        now, lines = [0.0], []
        monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(module, 'print_log', lambda line, logger: lines.append(line))
        seen = []
        for piece in progress('abcde', 5, 'pieces'):
            seen.append(piece)
            now[0] += seconds
        assert seen == list('abcde')
        return lines

    return run


def test_the_time_left_is_told_now_and_then(work):
    assert work(seconds=10) == ['pieces: 2 of 5, 0:30 left', 'pieces: 4 of 5, 0:10 left']


def test_short_work_says_nothing(work):
    assert work(seconds=1) == []


def test_times_have_hours_where_needed():
    assert [format_time(s) for s in (0, 59.6, 3599, 3723)] == ['0:00', '1:00', '59:59', '1:02:03']

import json

import pytest

from flsl_mm.utils.errors import DataError
from flsl_mm.visualization import curves_figure, read_training_log
from flsl_mm.visualization.curves_figure import smooth


@pytest.fixture
def write_log(tmp_path):
    """Writes rows as the log of a part of a run; returns the work dir."""

    def write(time: str, rows: list, tail: str = ''):
        path = tmp_path / 'run' / time / 'vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(''.join(json.dumps(row) + '\n' for row in rows) + tail)
        return tmp_path / 'run'

    return write


def losses(first: int, last: int, value: float) -> list[dict]:
    return [dict(loss=value, epoch=1, iter=i, step=i) for i in range(first, last + 1)]


def test_a_resumed_run_replaces_what_it_repeats(write_log):
    write_log('20240101_000000', losses(1, 5, 2.0))
    run = write_log('20240102_000000', losses(4, 6, 1.0))
    rows = read_training_log(run)
    assert [row['iter'] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row['loss'] for row in rows] == [2.0] * 3 + [1.0] * 3


def test_a_resumed_run_that_begins_with_an_evaluation_keeps_what_was_before(write_log):
    write_log('1', [dict(score=0.1, step=0), *losses(1, 5, 2.0)])
    run = write_log('2', [dict(score=0.5, step=4), *losses(5, 6, 1.0)])
    rows = read_training_log(run)
    assert [row['iter'] for row in rows] == [0, 1, 2, 3, 4, 4, 5, 6]
    assert [row['score'] for row in rows if 'score' in row] == [0.1, 0.5]
    run = write_log('3', [dict(score=0.7, step=6)])
    assert read_training_log(run) == [*rows, dict(score=0.7, step=6, iter=6)]


def test_validation_is_placed_at_the_iteration_of_its_time(write_log):
    run = write_log('1', [*losses(1, 3, 1.0), {'coco/bbox_mAP': 0.4, 'step': 1}])
    assert read_training_log(run)[-1] == {'coco/bbox_mAP': 0.4, 'step': 1, 'iter': 3}


def test_the_unfinished_line_of_a_killed_run_is_left_out(write_log):
    run = write_log('1', losses(1, 2, 1.0), tail='{"loss": 0.')
    assert len(read_training_log(run)) == 2


def test_logs_that_cannot_be_used_are_named(write_log, tmp_path):
    with pytest.raises(DataError, match='no training log in .*: give a scalars.json'):
        read_training_log(tmp_path)
    run = write_log('1', [])
    with pytest.raises(DataError, match='scalars.json is empty'):
        read_training_log(run)
    write_log('2', [[1], dict(loss=1.0)])
    with pytest.raises(DataError, match='scalars.json, line 1 is not a JSON object'):
        read_training_log(run)


def test_curves_have_a_panel_for_each_number_and_a_line_for_each_run():
    runs = {'a': losses(1, 20, 2.0), 'b': losses(1, 10, 1.0)}
    figure = curves_figure(runs, ['loss', 'epoch'])
    assert [axis.get_title() for axis in figure.axes] == ['loss', 'epoch']
    first, second = figure.axes[0].lines
    assert list(first.get_xdata()) == list(range(1, 21)) and set(first.get_ydata()) == {2.0}
    assert list(second.get_xdata()) == list(range(1, 11))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['a', 'b']


@pytest.mark.parametrize('last', [1, 3, 9, 20_000])
def test_iterations_are_marked_with_whole_numbers(last):
    [axis] = curves_figure({'a': losses(1, last, 2.0)}, ['loss']).axes
    assert all(tick == int(tick) for tick in axis.get_xticks())


def test_by_default_the_signs_of_a_collapse_are_drawn():
    rows = [dict(row, entropy_p_bar=4.0, prototypes_used=9) for row in losses(1, 3, 2.0)]
    titles = [axis.get_title() for axis in curves_figure({'a': rows}).axes if axis.lines]
    assert titles == ['loss', 'prototypes_used', 'entropy_p_bar']


def test_by_default_the_usual_numbers_are_drawn():
    figure = curves_figure({'a': losses(1, 3, 2.0)})
    assert [axis.get_title() for axis in figure.axes] == ['loss']
    assert not figure.legends


def test_a_number_that_was_not_logged_is_named_beside_those_that_were():
    with pytest.raises(DataError, match='not in the log: accuracy; there is: loss'):
        curves_figure({'a': losses(1, 3, 2.0)}, ['accuracy'])


def test_smoothing_averages_what_came_before():
    assert smooth([1, 3, 5, 7], 2) == [1, 2, 4, 6]
    assert smooth([1, 3], 5) == [1, 2]

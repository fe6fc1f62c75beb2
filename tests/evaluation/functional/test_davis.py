"""J and F of DAVIS-2017; the plain twin is tests/tools/test_benchmark_davis.py's."""

import json

import numpy as np
import pytest

from flsl_mm.evaluation import evaluate_davis
from flsl_mm.evaluation.functional.davis import ObjectMeasures, boundary_map, summarize_davis


def video(frames=5, size=(20, 30)) -> np.ndarray:
    """Two objects, 1 and 2, that do not move."""
    masks = np.zeros((frames, *size), np.uint8)
    masks[:, 2:9, 3:12] = 1
    masks[:, 10:18, 15:28] = 2
    return masks


def test_the_official_figures(golden_dir):
    masks = np.load(golden_dir / 'davis_jf.npz')
    golden = json.loads((golden_dir / 'davis_jf.json').read_text())
    names = ('seq0', 'seq1')
    result = evaluate_davis({n: (masks[f'{n}.gt'], masks[f'{n}.pred']) for n in names})
    for ours, theirs in (('Mean', 'M'), ('Recall', 'R'), ('Decay', 'D')):
        for kind in 'JF':
            expected = 100 * golden['summary'][f'{kind}_{theirs}']
            assert result[f'{kind}-{ours}'] == pytest.approx(expected, rel=1e-12)
    assert result['J&F-Mean'] == pytest.approx(100 * golden['summary']['J&F'], rel=1e-12)
    for kind, values in golden['per_object_mean'].items():
        for name, value in values.items():
            assert result['objects'][name][f'{kind}-Mean'] == pytest.approx(100 * value, rel=1e-12)


def test_the_first_and_the_last_frame_are_not_scored():
    truth = video()
    prediction = truth.copy()
    prediction[[0, -1]] = 0
    assert evaluate_davis({'a': (truth, prediction)})['J&F-Mean'] == 100
    prediction[1] = 0
    assert evaluate_davis({'a': (truth, prediction)})['J-Mean'] == pytest.approx(100 * 2 / 3)


def test_objects_are_averaged_not_sequences():
    one = np.where(video() == 1, 1, 0)
    result = evaluate_davis({'both': (video(), video()), 'one': (one, one * 0)})
    assert result['J&F-Mean'] == pytest.approx(100 * 2 / 3)
    assert result['sequences']['one']['J&F-Mean'] == 0
    assert result['sequences']['both'].keys() == result.keys() - {'sequences', 'objects'}
    assert result['objects']['both_2'] == {'J-Mean': 100, 'F-Mean': 100}


def test_255_is_background_in_both():
    truth, prediction = video(), video()
    truth[:, :, 0] = 255
    prediction[:, 0] = 255
    assert evaluate_davis({'a': (truth, prediction)})['J&F-Mean'] == 100


def test_an_object_that_appears_later_is_background():
    truth = video()
    truth[2:, 12:15, 3:9] = 3
    result = evaluate_davis({'a': (truth, video())})
    assert result['J&F-Mean'] == 100 and len(result['objects']) == 2
    assert evaluate_davis({'a': (truth, truth)})['J&F-Mean'] == 100


def test_an_object_that_is_gone_and_not_predicted_is_right():
    truth = video()
    truth[2][truth[2] == 2] = 0
    assert evaluate_davis({'a': (truth, truth)})['J&F-Mean'] == 100
    result = evaluate_davis({'a': (truth, video())})['objects']['a_2']
    assert result['J-Mean'] == result['F-Mean'] == pytest.approx(100 * 2 / 3)


def test_an_id_between_the_others_counts_as_an_object():
    truth = np.where(video() == 2, 3, video())
    result = evaluate_davis({'a': (truth, truth)})
    assert list(result['objects']) == ['a_1', 'a_2', 'a_3']  # as the official evaluator counts


def test_a_boundary_is_right_within_the_tolerance():
    truth = np.zeros((3, 480, 854), np.uint8)  # ceil(0.008 * 979.7) = 8 pixels
    truth[:, 100:200, 100:300] = 1
    near, far = np.roll(truth, 8, axis=2), np.roll(truth, 9, axis=2)
    assert evaluate_davis({'a': (truth, near)})['F-Mean'] == 100
    # The left and right edges are then 9 pixels off: a third of the boundary.
    assert evaluate_davis({'a': (truth, far)})['F-Mean'] == pytest.approx(66.7, abs=3)


def test_the_boundary_lies_before_the_change():
    mask = np.zeros((4, 5), np.uint8)
    mask[2:, 3:] = 1  # reaches the border of the image, which is no boundary
    expected = np.zeros_like(mask)
    expected[1, 2:] = expected[2:, 2] = 1
    np.testing.assert_array_equal(boundary_map(mask), expected)


def test_decay_is_the_first_quarter_minus_the_last():
    values = np.linspace(1, 0, 8)[None]
    result = summarize_davis({'a': ObjectMeasures(values, values)})
    # Quarters share their ends: frames 1-3 and 6-8.
    assert result['J-Decay'] == pytest.approx(100 * (values[0, :3].mean() - values[0, 5:].mean()))
    assert result['J-Recall'] == result['F-Recall'] == 50


def test_a_long_video_has_no_wrapped_decay():
    values = np.linspace(1, 0, 400)[None]
    result = summarize_davis({'a': ObjectMeasures(values, values)})
    assert result['J-Decay'] == pytest.approx(75, abs=0.5)


@pytest.mark.parametrize(
    'truth, prediction, message',
    [
        (video(), video()[:-1], r'a: ground truth .* \(5, 20, 30\), prediction \(4, 20, 30\)'),
        (video(), video()[:, :-1], 'same frames and size'),
        (video()[:2], video()[:2], 'a: 2 frames: the first and the last are not scored'),
        (video(), video() / 2, 'masks hold integer ids, got uint8 and float64'),
        (video(), video() * 4, r'a: predicted objects \[4, 8\] are not in the ground truth'),
        (video() * 0, video() * 0, 'a: the first frame of the ground truth has no object'),
    ],
)
def test_what_cannot_be_scored_is_named(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        evaluate_davis({'a': (truth, prediction)})


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(ValueError, match='no sequence to evaluate'):
        evaluate_davis({})

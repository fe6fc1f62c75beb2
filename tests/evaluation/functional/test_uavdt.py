"""The official AP of UAVDT."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flsl_mm.datasets.uavdt_files import ATTRIBUTES, TEST_LENGTHS, TEST_SEQUENCES, TRAIN_SEQUENCES
from flsl_mm.evaluation import evaluate_uavdt
from flsl_mm.evaluation.functional.uavdt import (
    average_precision,
    inside_ignored,
    match_detections,
    match_frame,
    pairwise_iou,
)

GT_LINE = '1,1,10,10,20,20,1,1,1\n'


def row(frame, left, top, width, height, score=0.5, category=1) -> list[float]:
    return [frame, -1, left, top, width, height, score, 1, category]


def rows(*lines) -> np.ndarray:
    return np.array(lines, float).reshape(-1, 9)


@pytest.fixture
def folders(tmp_path):
    """Writes the text files of a sequence; returns the two folders."""
    gt_dir, detection_dir = tmp_path / 'gt', tmp_path / 'detections'
    gt_dir.mkdir()
    detection_dir.mkdir()

    def write(name: str, gt: str, detections: str, ignored: str = ''):
        (gt_dir / f'{name}_gt_whole.txt').write_text(gt)
        (gt_dir / f'{name}_gt_ignore.txt').write_text(ignored)
        (detection_dir / f'{name}.txt').write_text(detections)
        return gt_dir, detection_dir

    return write


def test_the_official_figures_of_real_detections(shared_dir):
    folder = shared_dir / 'data/uavdt'
    result = evaluate_uavdt(folder / 'GT', folder / 'RES_DET', ['M0208', 'M0801'])
    assert result['AP'] == 88.62
    assert result['sequences']['M0208']['AP'] == 5.02
    assert result['sequences']['M0801']['AP'] == 99.14
    assert result['sequences']['M0208']['AP_no_ignore'] == 4.90  # ours
    assert result['attributes']['front'] == result['sequences']['M0208']
    assert result['classes'] == {}  # the official format has no categories of detections
    assert evaluate_uavdt(folder / 'GT', folder / 'RES_DET') == result  # those with ground truth


def test_splits_and_groups_are_the_official_ones():
    assert len(TRAIN_SEQUENCES) == 30 and len(TEST_SEQUENCES) == 20
    assert not set(TRAIN_SEQUENCES) & set(TEST_SEQUENCES)
    assert sum(TEST_LENGTHS.values()) == 16592
    assert ATTRIBUTES['high'] == ('M0601', 'M0701') and ATTRIBUTES['long'] == ('M0209', 'M1001')
    light, altitude = ('day', 'night', 'fog'), ('low', 'medium', 'high')
    for kinds in (light, altitude):
        names = [name for kind in kinds for name in ATTRIBUTES[kind]]
        assert sorted(names) == sorted(TEST_SEQUENCES)


def plain_iou(a, b) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def plain_matches(detections, gt, threshold) -> list[tuple[float, bool]]:
    """The official loops: (score, correct) by frame and descending score."""
    result = []
    for frame in sorted({detection[0] for detection in detections}):
        boxes = [box for box in gt if box[0] == frame]
        taken = [False] * len(boxes)
        found = [detection for detection in detections if detection[0] == frame]
        for detection in sorted(found, key=lambda detection: -detection[6]):
            best, best_index = threshold, None
            for index, box in enumerate(boxes):
                overlap = plain_iou(detection[2:6], box[2:6])
                if not taken[index] and overlap >= best:
                    best, best_index = overlap, index
            if best_index is not None:
                taken[best_index] = True
            result.append((detection[6], best_index is not None))
    return result


def plain_ap(matches, num_gt) -> float:
    recall, precision = [0.0], [0.0]
    hits = 0
    for count, (_, correct) in enumerate(sorted(matches, key=lambda match: -match[0]), 1):
        hits += correct
        recall.append(hits / num_gt)
        precision.append(hits / count)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum(
        (recall[i] - recall[i - 1]) * precision[i]
        for i in range(1, len(recall))
        if recall[i] != recall[i - 1]
    )


# Few values, so that equal overlaps, equal scores and touching borders are common.
some_rows = st.lists(
    st.builds(
        row,
        st.integers(1, 2),
        st.integers(0, 4),
        st.integers(0, 2),
        st.integers(1, 4),
        st.integers(1, 3),
        st.sampled_from([0.1, 0.5, 0.9]),
    ),
    max_size=12,
)


@given(some_rows, some_rows, st.sampled_from([0.2, 0.5, 0.7, 1.0]))
def test_matching_is_the_official_loops(detections, gt, threshold):
    found = match_detections(rows(*detections), rows(*gt), threshold)
    assert list(zip(found.scores, found.correct)) == plain_matches(detections, gt, threshold)
    if gt:
        ap = average_precision(found.scores, found.correct, len(gt))
        assert ap == pytest.approx(plain_ap(plain_matches(detections, gt, threshold), len(gt)))


@given(some_rows, some_rows)
def test_ignored_regions_are_the_official_loops(detections, ignored):
    expected = [
        any(
            d[0] == r[0]
            and d[2] > r[2]
            and d[3] > r[3]
            and d[2] + d[4] < r[2] + r[4]
            and d[3] + d[5] < r[3] + r[5]
            for r in ignored
        )
        for d in detections
    ]
    assert inside_ignored(rows(*detections), rows(*ignored)).tolist() == expected


@given(arrays(float, (4, 3), elements=st.sampled_from([0.0, 0.6, 0.7, 0.8, 1.0])))
def test_no_more_are_correct_than_there_are_boxes(iou):
    assert match_frame(iou, 0.7).sum() <= min((iou >= 0.7).any(0).sum(), (iou >= 0.7).any(1).sum())


def test_on_a_tie_the_later_ground_truth_is_taken():
    # The first detection ties between both boxes; the second fits only the earlier one.
    assert match_frame(np.array([[0.8, 0.8], [0.8, 0.0]]), 0.7).tolist() == [True, True]
    assert match_frame(np.array([[0.8, 0.8], [0.0, 0.8]]), 0.7).tolist() == [True, False]


def test_a_taken_box_leaves_the_next_best():
    assert match_frame(np.array([[0.9, 0.8], [0.9, 0.8]]), 0.7).tolist() == [True, True]
    assert match_frame(np.array([[0.9, 0.6], [0.9, 0.6]]), 0.7).tolist() == [True, False]


def test_an_overlap_at_the_threshold_counts():
    assert pairwise_iou(np.array([[0, 0, 10, 7]]), np.array([[0, 0, 10, 10]])) == 0.7  # no +1
    assert match_frame(np.array([[0.7]]), 0.7).all()


def test_a_detection_that_touches_the_border_is_not_inside():
    region = rows(row(1, 10, 10, 20, 20))
    for inside, box in (
        (True, (11, 11, 18, 18)),
        (False, (10, 11, 18, 18)),
        (False, (11, 10, 18, 18)),
        (False, (11, 11, 19, 18)),
        (False, (11, 11, 18, 19)),
    ):
        assert inside_ignored(rows(row(1, *box)), region) == [inside]
    assert not inside_ignored(rows(row(2, 11, 11, 18, 18)), region).any()  # another frame


def test_two_regions_that_cover_a_detection_together_do_not_drop_it():
    regions = rows(row(1, 0, 0, 20, 20), row(1, 10, 0, 20, 20))
    assert not inside_ignored(rows(row(1, 5, 5, 20, 10)), regions).any()


def test_ground_truth_in_an_ignored_region_still_counts(folders):
    args = folders('M0203', GT_LINE, '1,-1,10,10,20,20,.9,1,-1\n', '1,9,0,0,99,99,1,-1,-1\n')
    result = evaluate_uavdt(*args)
    assert result['AP'] == 0 and result['AP_no_ignore'] == 100
    assert result['num_gt'] == 1 and result['num_ignored'] == 1


def test_the_order_of_lines_does_not_matter(folders):
    lines = ['1,-1,10,10,20,20,.9,1,1\n', '2,-1,10,10,20,20,.8,1,1\n', '1,-1,50,9,20,20,.85,1,1\n']
    gt = [GT_LINE, '2,1,10,10,20,20,1,1,1\n']
    one = evaluate_uavdt(*folders('M0203', ''.join(gt), ''.join(lines)))
    other = evaluate_uavdt(*folders('M0203', ''.join(gt[::-1]), ''.join(lines[::-1])))
    assert str(one) == str(other)  # nan is not nan
    assert one['AP'] == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3), abs=0.005)


def test_nothing_found_is_zero_and_nothing_to_find_is_not_a_number(folders):
    assert evaluate_uavdt(*folders('M0203', GT_LINE, ''))['AP'] == 0
    empty = evaluate_uavdt(*folders('M0203', '', '1,-1,10,10,20,20,.9,1,1\n'))
    assert math.isnan(empty['AP']) and empty['num_gt'] == 0
    assert math.isnan(evaluate_uavdt(*folders('M0203', '', ''))['AP'])


def test_sequences_are_pooled_not_averaged(folders):
    folders('M0205', GT_LINE * 3, '')
    result = evaluate_uavdt(*folders('M0203', GT_LINE, '1,-1,10,10,20,20,.9,1,1\n'))
    assert [pair['AP'] for pair in result['sequences'].values()] == [100, 0]
    assert result['AP'] == 25
    assert set(result['attributes']) == {'night', 'low', 'bird', 'side'}
    assert result['attributes']['bird']['AP'] == 100


def test_classes_count_only_by_class(folders):
    detections = '1,-1,10,10,20,20,.9,1,2\n'  # found as a truck, is a car
    result = evaluate_uavdt(*folders('M0203', GT_LINE, detections))
    assert result['AP'] == 100
    assert result['classes']['car']['AP'] == 0 and math.isnan(result['classes']['bus']['AP'])


def test_a_subset_of_frames_counts_alone(folders):
    args = folders('M0203', GT_LINE + '2,1,10,10,20,20,1,1,1\n', '1,-1,10,10,20,20,.9,1,1\n')
    assert evaluate_uavdt(*args)['AP'] == 50
    assert evaluate_uavdt(*args, frames={'M0203': {1}})['AP'] == 100


def test_the_threshold_can_be_chosen(folders):
    args = folders('M0203', GT_LINE, '1,-1,10,10,20,11,.9,1,1\n')
    assert evaluate_uavdt(*args)['AP'] == 0
    assert evaluate_uavdt(*args, iou_threshold=0.5)['AP'] == 100
    with pytest.raises(ValueError, match='iou_threshold must be above 0 and at most 1, got 70'):
        evaluate_uavdt(*args, iou_threshold=70)


def test_missing_files_are_named(folders, tmp_path):
    gt_dir, detection_dir = folders('M0203', GT_LINE, '')
    with pytest.raises(FileNotFoundError, match='no detection file in .* for M0205, M0208'):
        evaluate_uavdt(gt_dir, detection_dir, ['M0203', 'M0205', 'M0208'])
    (detection_dir / 'M0205.txt').touch()
    with pytest.raises(FileNotFoundError, match='there is no M0205_gt_whole.txt'):
        evaluate_uavdt(gt_dir, detection_dir, ['M0205'])
    (gt_dir / 'M0203_gt_ignore.txt').unlink()  # the AP would be another one without it
    with pytest.raises(FileNotFoundError, match='there is no M0203_gt_ignore.txt'):
        evaluate_uavdt(gt_dir, detection_dir)
    with pytest.raises(ValueError, match='no ground truth of a test sequence'):
        evaluate_uavdt(tmp_path, detection_dir)


def test_the_result_is_plain_numbers(folders):
    result = evaluate_uavdt(*folders('M0203', GT_LINE, '1,-1,10,10,20,20,.9,1,1\n'))
    assert json.loads(json.dumps(result))['AP'] == 100


@pytest.mark.parametrize('sequences', [[], 'M0203'])
def test_sequences_are_a_list_of_names(folders, sequences):
    with pytest.raises(ValueError, match='sequences are a list of at least one name'):
        evaluate_uavdt(*folders('M0203', GT_LINE, ''), sequences)

"""Quality of single images against numbers found by hand."""

import numpy as np
import pytest

from flsl_mm.evaluation.functional.image_quality import count_detected, pixel_accuracy

NONE = np.zeros((0, 4))


def count(found, truth, ignored=()):
    """Of (box, class, score) and (box, class)."""
    boxes, labels, scores = (np.array(part) for part in zip(*found)) if found else (NONE, [], [])
    there, classes = (np.array(part) for part in zip(*truth)) if truth else (NONE, [])
    ignored = np.array(ignored, float).reshape(-1, 4)
    return count_detected(
        boxes, np.array(labels), np.array(scores), there, np.array(classes), ignored
    )


A, B, FAR = [0.0, 0, 10, 10], [1.0, 0, 11, 10], [50.0, 50, 60, 60]


@pytest.mark.parametrize('found, truth, expected, quality', [
    ([], [], (0, 0, 0), 1.0),
    ([], [(A, 0)], (0, 1, 0), 0.0),
    ([(A, 0, 0.9)], [], (0, 0, 1), 0.0),
    ([(A, 0, 0.9)], [(B, 0)], (1, 0, 0), 1.0),
    ([(A, 1, 0.9)], [(A, 0)], (0, 1, 1), 0.0),  # another class
    ([(A, 0, 0.9), (B, 0, 0.8)], [(A, 0)], (1, 0, 1), 2 / 3),  # found twice
    ([(B, 0, 0.5), (A, 0, 0.9)], [(A, 0), (B, 0)], (2, 0, 0), 1.0),
    ([(FAR, 0, 0.9), (A, 0, 0.3)], [(A, 0), (B, 1)], (1, 1, 1), 0.5),
])  # fmt: skip
def test_objects_are_found_missed_or_false(found, truth, expected, quality):
    counts = count(found, truth)
    assert tuple(counts) == expected and counts.quality == pytest.approx(quality)


def test_detections_of_ignored_regions_count_nowhere():
    assert tuple(count([(FAR, 0, 0.9)], [(A, 0)], ignored=[[40, 40, 70, 58]])) == (0, 1, 0)
    assert tuple(count([(FAR, 0, 0.9)], [(A, 0)], ignored=[[40, 40, 70, 54]])) == (0, 1, 1)


def test_pixels_that_are_ignored_do_not_count():
    truth = np.array([[0, 1, 255, 255]])
    assert pixel_accuracy(np.array([[0, 2, 1, 1]]), truth) == 0.5
    assert pixel_accuracy(np.array([[0, 0, 0, 0]]), np.full((1, 4), 255)) == 1.0

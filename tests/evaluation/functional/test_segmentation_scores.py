import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation.functional.segmentation_scores import confusion_matrix, segmentation_scores


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3), st.integers(0, 5)), max_size=20))
def test_pairs_are_counted_and_ignored_labels_are_not(entries):
    predictions, labels, weights = torch.tensor(entries, dtype=torch.long).view(-1, 3).unbind(1)
    found = confusion_matrix(predictions, labels, (3, 4), weights)
    for prediction in range(3):
        for label in range(4):
            expected = sum(w for p, c, w in entries if (p, c) == (prediction, label))
            assert found[prediction, label] == expected


def test_the_scores_are_those_of_the_definition():
    labels = torch.tensor([0, 0, 0, 1, 1, -1])
    predictions = torch.tensor([0, 0, 1, 1, 2, 0])
    scores = segmentation_scores(confusion_matrix(predictions, labels, (4, 4)))
    # Class 2 is predicted, but nowhere right; class 3 does not occur.
    assert scores['mIoU'] == pytest.approx(100 * (2 / 3 + 1 / 3 + 0) / 3)
    assert scores['mAcc'] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    assert scores['aAcc'] == pytest.approx(100 * 3 / 5)


def test_they_are_those_of_mmseg():
    mmseg = pytest.importorskip('mmseg.evaluation')
    labels, predictions = torch.randint(5, (2, 500), generator=torch.Generator().manual_seed(0))
    predictions[labels == 2] = 2
    ours = segmentation_scores(confusion_matrix(predictions, labels, (5, 5)))
    metric = mmseg.IoUMetric()
    metric.dataset_meta = dict(classes=list('abcde'))
    result = metric.intersect_and_union(predictions, labels, 5, 255)
    theirs = metric.compute_metrics([result])
    assert ours == pytest.approx(theirs, abs=0.005)  # theirs are rounded


def test_nothing_labelled_is_an_error():
    with pytest.raises(ValueError, match='no labelled pixel'):
        segmentation_scores(torch.zeros(3, 3, dtype=torch.long))

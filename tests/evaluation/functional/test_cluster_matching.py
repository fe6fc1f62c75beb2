from itertools import permutations

import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation.functional.clustering import (
    match_many_to_one,
    match_one_to_one,
    matched_confusion,
)


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=4, max_size=4))
def test_no_other_assignment_agrees_with_more_pixels(counts):
    classes = match_one_to_one(torch.tensor(counts))
    assert sorted(classes.tolist()) == [0, 1, 2, 3]
    best = max(sum(counts[i][c] for i, c in enumerate(p)) for p in permutations(range(4)))
    assert matched_confusion(torch.tensor(counts), classes).diagonal().sum() == best


def test_clusters_beyond_the_classes_are_left_over():
    counts = torch.tensor([[1, 0], [9, 0], [0, 3]])
    assert match_one_to_one(counts).tolist() == [-1, 0, 1]


def test_several_clusters_may_stand_for_a_class():
    counts = torch.tensor([[5, 1], [9, 0], [2, 3]])
    classes = match_many_to_one(counts)
    assert classes.tolist() == [0, 0, 1]
    assert matched_confusion(counts, classes).tolist() == [[14, 1], [2, 3]]

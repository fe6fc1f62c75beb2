"""Label propagation, against one dense matrix and against the published implementation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation import LabelPropagator, propagate_labels
from flsl_mm.evaluation.functional import label_propagation as label_propagator


def dense(target, sources, labels, radius, topk, temperature=0.1):
    """The plain twin: every pair of tokens, masked."""
    height, width = labels.shape[-2:]
    place = torch.arange(height * width)
    row, column = place // width, place % width
    far = (row[:, None] - row).abs().maximum((column[:, None] - column).abs()) > radius
    unit = torch.nn.functional.normalize
    scores = unit(target, dim=-1) @ unit(sources, dim=-1).transpose(1, 2)  # (T, targets, sources)
    scores = scores.masked_fill(far, -torch.inf).permute(1, 0, 2).flatten(1)
    least = scores.topk(min(topk, scores.shape[1])).values[:, -1:]
    weights = scores.masked_fill(scores < least, -torch.inf).div(temperature).softmax(1)
    flat = labels.permute(0, 2, 3, 1).flatten(0, 2)  # (T * sources, C)
    return (weights @ flat).T.reshape(-1, height, width)


def sample(grid, frames=3, dim=6, classes=3, seed=0, equal=False):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(frames + 1, grid[0] * grid[1], dim, generator=generator).double()
    if equal:  # few values, products exact: ties at every border
        features = features[..., :4].sign()
    return (
        features[0],
        features[1:],
        torch.rand(frames, classes, *grid, generator=generator).double(),
    )


def test_it_equals_the_published_label_propagation(golden_dir):
    golden = {k: torch.from_numpy(v) for k, v in np.load(golden_dir / 'propagation.npz').items()}
    _, _, radius, topk = golden['meta'].tolist()
    features = golden['target_features'], golden['source_features']
    found = propagate_labels(*features, golden['source_segs'], radius, topk)
    torch.testing.assert_close(found, golden['target_seg'][0], rtol=1e-5, atol=1e-6)


@given(
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    frames=st.integers(1, 4),
    radius=st.integers(0, 13),
    topk=st.integers(1, 6),
    seed=st.integers(0, 99),
    equal=st.booleans(),
)
def test_the_window_equals_a_masked_dense_matrix(grid, frames, radius, topk, seed, equal):
    args = (*sample(grid, frames, seed=seed, equal=equal), radius, topk)
    torch.testing.assert_close(propagate_labels(*args), dense(*args))


@pytest.mark.parametrize('size', [1, 5, 32])
def test_the_size_of_bands_does_not_matter(size, monkeypatch):
    args = (*sample((11, 7)), 2, 5)
    monkeypatch.setitem(label_propagator._BAND_ROWS, 'cpu', size)
    torch.testing.assert_close(propagate_labels(*args), dense(*args))


def test_without_a_radius_all_tokens_are_compared():
    target, sources, labels = sample((5, 9))
    found = propagate_labels(target, sources, labels, None, 5)
    torch.testing.assert_close(found, dense(target, sources, labels, 9, 5))


def test_all_of_equally_similar_tokens_vote():
    target, sources, labels = sample((4, 4), frames=1)
    labels = torch.cat([labels, labels * 0, labels * 0])
    found = propagate_labels(target, sources.expand(3, -1, -1), labels, 0, 1)  # a still video
    torch.testing.assert_close(found, labels[0] / 3)


def test_a_token_looks_no_further_than_the_radius():
    features = torch.zeros(25, 2)
    features[:, 0] = 1
    features[0] = torch.tensor([0.0, 1.0])  # the one like the target's token at row 2, column 2
    target = features.flip(0).clone()
    target[12] = features[0]
    labels = torch.zeros(1, 1, 5, 5)
    labels[..., 0, 0] = 1
    assert propagate_labels(target, features[None], labels, 2, 1)[0, 2, 2] == 1
    assert propagate_labels(target, features[None], labels, 1, 1)[0, 2, 2] == 0


@pytest.mark.parametrize('num_frames', [1, 2, 4])
def test_the_first_frame_and_the_latest_are_remembered(num_frames):
    _, features, labels = sample((5, 6), frames=8)
    propagator = LabelPropagator((5, 6), 2, 3, num_frames=num_frames)
    for now in range(8):
        if now:
            used = [0, *range(max(1, now - num_frames + 1), now)]
            expected = dense(features[now], features[used], labels[used], 2, 3)
            torch.testing.assert_close(propagator.propagate(features[now]), expected)
        propagator.remember(features[now], labels[now])
        assert propagator.num_remembered == min(now + 1, num_frames)


def test_half_precision_features_are_compared_in_single_precision():
    target, sources, labels = sample((4, 5))
    target, sources = target.bfloat16(), sources.bfloat16()
    found = propagate_labels(target, sources, labels, 2, 3)
    expected = dense(target.float(), sources.float(), labels.float(), 2, 3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(topk=0), 'topk and num_frames must be at least 1, got 0 and 3'),
        (dict(radius=-1), 'radius must be at least 0, or None, got -1'),
        (dict(temperature=0), 'temperature must be above 0, got 0'),
        (dict(target_features=torch.ones(7, 6)), r'expected \(h\*w, D\) with 4 x 5'),
        (dict(target_features=torch.ones(20, 5)), '5 features, the remembered have 6'),
        (dict(source_labels=torch.ones(3, 4, 5)), r'source_labels are \(T, C, h, w\)'),
        (dict(source_features=torch.ones(2, 20, 6)), '2 source_features, 3 labels'),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    target, sources, labels = sample((4, 5))
    args = dict(target_features=target, source_features=sources, source_labels=labels)
    with pytest.raises(ValueError, match=message):
        propagate_labels(**{**args, 'radius': 2, 'topk': 3, **change})


def test_frames_that_do_not_follow_each_other_are_refused():
    propagator = LabelPropagator((2, 2))
    with pytest.raises(ValueError, match='call remember first'):
        propagator.propagate(torch.ones(4, 3))
    propagator.remember(torch.ones(4, 3), torch.ones(2, 2, 2))
    with pytest.raises(ValueError, match='3 features and 5 labels follow a frame of 3 and 2'):
        propagator.remember(torch.ones(4, 3), torch.ones(5, 2, 2))
    with pytest.raises(ValueError, match=r'labels are \(2, 3, 2\)'):
        propagator.remember(torch.ones(4, 3), torch.ones(2, 3, 2))


def test_arrays_of_numpy_are_taken_too():
    args = sample((4, 5))
    found = propagate_labels(*(x.numpy() for x in args), 2, 5)
    torch.testing.assert_close(found, propagate_labels(*args, 2, 5))


def test_features_may_carry_gradients_and_be_of_two_precisions():
    target, sources, labels = torch.randn(12, 6), torch.randn(2, 12, 6), torch.rand(2, 3, 3, 4)
    expected = propagate_labels(target, sources, labels, 2, 4)
    found = propagate_labels(target.requires_grad_(), sources.double(), labels, 2, 4)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, check_dtype=False)

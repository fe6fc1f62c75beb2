import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.models.mean_shift import mean_shift, mean_shift_weights, sharpen

sizes = st.integers(1, 7)


@given(
    batch=sizes,
    queries=sizes,
    keys=sizes,
    dims=sizes,
    scale=st.floats(1e-3, 10.0),
    seed=st.integers(0, 99),
)
def test_it_is_the_softmax_weighted_mean_of_the_keys(batch, queries, keys, dims, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(batch, queries, dims, generator=generator, dtype=torch.float64)
    key = torch.randn(batch, keys, dims, generator=generator, dtype=torch.float64)
    expected = torch.empty_like(query)
    for b in range(batch):
        for q in range(queries):
            weights = (scale * (key[b] @ query[b, q])).exp()
            expected[b, q] = (weights[:, None] * key[b]).sum(0) / weights.sum()
    torch.testing.assert_close(mean_shift(query, key, scale), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        mean_shift_weights(query, key, scale) @ key, expected, rtol=1e-9, atol=1e-12
    )


def test_a_tiny_scale_gives_the_mean_and_a_huge_one_the_most_similar_key():
    keys = torch.eye(4)[None]
    query = torch.tensor([[[0.2, 1.0, 0.1, 0.3]]])
    torch.testing.assert_close(mean_shift(query, keys, 1e-9), torch.full((1, 1, 4), 0.25))
    torch.testing.assert_close(mean_shift(query, keys, 1e3), torch.eye(4)[None, 1:2])


def test_iterating_it_stays_at_a_mode():
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[4.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    keys = (centers.repeat_interleave(50, 0) + 0.1 * torch.randn(100, 2, generator=generator))[None]
    mode = keys[:, :1]
    for _ in range(20):
        mode = mean_shift(mode, keys, 2.0)
    torch.testing.assert_close(mode[0, 0], centers[0], rtol=0, atol=0.1)


def test_gradients_flow_through_queries_and_keys():
    query = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(1, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k: mean_shift(q, k, 0.7), (query, keys))


@pytest.mark.parametrize('sharpness', [1.0, 1e3])
def test_sharpening_favors_what_is_above_the_mean_and_keeps_rows_normalized(sharpness):
    weights = torch.tensor([[[0.7, 0.2, 0.1]]])
    mask = sharpen(weights, sharpness)
    torch.testing.assert_close(mask.sum(-1), torch.ones(1, 1))
    raw = torch.sigmoid(sharpness * (weights - 1 / 3))
    torch.testing.assert_close(mask, raw / raw.sum())
    assert mask[0, 0].argmax() == 0

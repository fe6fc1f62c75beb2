import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation import aggregated_similarity


def with_a_matrix(tokens: torch.Tensor) -> torch.Tensor:
    """The plain way: all pairs."""
    unit = F.normalize(tokens, dim=-1)
    total = (unit @ unit.transpose(1, 2)).sum(dim=1)
    return total / total.amax(dim=1, keepdim=True)


@given(st.integers(1, 3), st.integers(1, 20), st.integers(2, 8), st.integers(0, 99))
def test_it_is_the_sum_of_all_cosine_maps_by_its_maximum(batch, length, width, seed):
    tokens = torch.randn(
        batch, length, width, dtype=torch.double, generator=torch.Generator().manual_seed(seed)
    )
    tokens = tokens + 0.5  # so that the unit tokens of an image do not nearly cancel out
    torch.testing.assert_close(aggregated_similarity(tokens), with_a_matrix(tokens))


def test_the_length_of_a_token_does_not_count():
    tokens = torch.rand(1, 9, 4)
    torch.testing.assert_close(
        aggregated_similarity(tokens), aggregated_similarity(tokens * torch.rand(1, 9, 1).add(0.1))
    )


def test_the_largest_group_of_like_tokens_scores_highest():
    tokens = torch.eye(3)[torch.tensor([0, 0, 0, 1, 1, 2])][None]
    expected = torch.tensor([[1, 1, 1, 2 / 3, 2 / 3, 1 / 3]])
    torch.testing.assert_close(aggregated_similarity(tokens), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_tokens_are_scored_in_single(dtype):
    tokens = torch.rand(2, 50, 8).to(dtype)
    scores = aggregated_similarity(tokens)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, aggregated_similarity(tokens.float()))


def test_tokens_that_cancel_out_score_zero():
    tokens = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(aggregated_similarity(tokens), torch.zeros(2, 2))

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation.functional.neighbors import nearest_neighbors


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.double, generator=generator)


@given(
    queries=st.integers(1, 9),
    rows=st.integers(1, 60),
    k=st.integers(1, 70),
    block=st.integers(1, 200),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_find_what_one_matrix_finds(queries, rows, k, block, seed):
    queries, bank = normal(queries, 3, seed=seed), normal(rows, 3, seed=seed + 100)
    values, indices = nearest_neighbors(queries, bank, k, max_similarities=block)
    expected = (queries @ bank.T).topk(min(k, rows), dim=1)
    torch.testing.assert_close(values, expected.values)
    assert torch.equal(indices, expected.indices)


def test_a_half_precision_bank_is_searched_in_the_precision_of_the_queries():
    queries, bank = normal(4, 8).float(), normal(30, 8, seed=1).half()
    values, indices = nearest_neighbors(queries, bank, 5, max_similarities=40)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, (queries[:, None] * bank.float()[indices]).sum(-1))


def test_a_bank_of_any_lengths_can_be_normalized_block_by_block():
    queries, bank = normal(4, 8), normal(30, 8, seed=1) * torch.arange(1, 31)[:, None]
    found = nearest_neighbors(queries, bank, 5, max_similarities=40, normalize=True)
    unit = bank / bank.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, nearest_neighbors(queries, unit, 5))


def test_no_queries_have_no_neighbors():
    values, indices = nearest_neighbors(normal(0, 3), normal(5, 3), 2)
    assert values.shape == indices.shape == (0, 2)


def test_an_empty_bank_is_an_error():
    with pytest.raises(ValueError, match='the bank is empty'):
        nearest_neighbors(normal(2, 3), normal(0, 3), 1)

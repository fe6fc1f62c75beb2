import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.evaluation.functional.collapse import (
    prototype_use,
    rankme_of_gram,
    similarity_contrast,
)


def orthonormal(rows: int, columns: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(rows, columns, dtype=torch.double, generator=generator))[0]


def rankme(features: torch.Tensor) -> float:
    return rankme_of_gram(features.double().T @ features.double())


@given(st.integers(1, 12), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_features_with_r_equal_singular_values_have_rank_r(r, scale, seed):
    features = scale * orthonormal(50, r, seed) @ orthonormal(16, r, seed + 1).T
    assert rankme(features) == pytest.approx(r, rel=1e-6)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.integers(0, 99))
def test_rankme_is_the_exponential_of_the_entropy_of_the_singular_values(values, seed):
    singular = torch.tensor(values, dtype=torch.double)
    features = orthonormal(30, len(values), seed) @ singular.diag()
    p = singular / singular.sum()
    assert rankme(features) == pytest.approx(math.exp(-(p * p.log()).sum()), rel=1e-5)


def test_rankme_is_that_of_the_definition():
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    p = torch.linalg.svdvals(features) / torch.linalg.matrix_norm(features, 'nuc')
    assert rankme(features) == pytest.approx(math.exp(-(p * p.log()).sum()))


def test_batches_add_up():
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    gram = sum(part.T @ part for part in features.split(7))
    assert rankme_of_gram(gram) == pytest.approx(rankme(features))


def test_collapsed_features_have_rank_one():
    assert rankme(torch.rand(30, 1) @ torch.rand(1, 8)) == pytest.approx(1, abs=1e-3)


def test_features_that_are_all_zero_have_no_rank():
    with pytest.raises(ValueError, match='all features are zero'):
        rankme(torch.zeros(5, 3))


def test_like_tokens_have_no_contrast_and_unlike_groups_have():
    alike, groups = torch.ones(1, 20, 4), torch.eye(4)[torch.arange(20) // 18][None]
    contrast = similarity_contrast(torch.cat([alike, groups]))
    # The large group scores 1; the small one has 2 / 18 of its sum.
    torch.testing.assert_close(contrast, torch.tensor([0, 1 - 2 / 18]))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_the_use_of_prototypes_is_bounded_by_their_number(choices):
    use = prototype_use(torch.tensor(choices))
    assert use['prototypes_used'] == sum(map(bool, choices))
    assert 0 <= use['prototype_entropy'] <= math.log(use['prototypes_used']) + 1e-9


def test_even_use_has_the_largest_entropy_and_one_prototype_none():
    assert prototype_use(torch.tensor([7, 7, 0, 7]))['prototype_entropy'] == pytest.approx(
        math.log(3)
    )
    assert prototype_use(torch.tensor([0, 9])) == dict(prototypes_used=1, prototype_entropy=0)


def test_no_tokens_use_no_prototypes():
    with pytest.raises(ValueError, match='no tokens'):
        prototype_use(torch.zeros(3, dtype=torch.long))

import math

import pytest
import torch
import torch.nn.functional as F

from flsl_mm.evaluation.functional.neighbors import knn_votes


def test_votes_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    queries, bank = (F.normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (6, 20))
    labels = torch.randint(3, (20,), generator=generator)
    found = knn_votes(queries, bank, labels, 5, 0.1, 3)
    for query, votes in zip(queries, found):
        near = sorted(((float(query @ b), int(c)) for b, c in zip(bank, labels)), reverse=True)[:5]
        weights = [math.exp(similarity / 0.1) for similarity, _ in near]
        for c in range(3):
            share = sum(w for w, (_, label) in zip(weights, near) if label == c) / sum(weights)
            assert float(votes[c]) == pytest.approx(share, abs=1e-5)

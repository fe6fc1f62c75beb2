import pytest
import torch
from torch import nn

from flsl_mm.checkpoint import CheckpointError, load_model


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize('wrap', [dict, lambda w: dict(state_dict=w, meta=dict(epoch=3))])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_a_whole_model_is_loaded(model, tmp_path, wrap, prefix):
    weights = {prefix + n: torch.full_like(t, 2) for n, t in model.state_dict().items()}
    torch.save(wrap(weights), tmp_path / 'model.pth')
    load_model(model, tmp_path / 'model.pth')
    assert all((t == 2).all() for t in model.state_dict().values())


def test_keys_that_do_not_fit_are_named_and_nothing_is_loaded(model, tmp_path):
    before = {n: t.clone() for n, t in model.state_dict().items()}
    weights = {n: t + 1 for n, t in before.items()}
    weights.pop('1.running_mean')
    weights['0.weight'] = torch.zeros(4, 5)
    weights['2.bias'] = torch.zeros(1)
    torch.save(weights, tmp_path / 'model.pth')
    with pytest.raises(
        CheckpointError,
        match=r'1 missing: 1.running_mean; 1 unexpected: 2.bias; '
        r'1 of another shape: 0.weight \(4, 5\) instead of \(4, 3\)',
    ):
        load_model(model, tmp_path / 'model.pth')
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_long_lists_are_cut(tmp_path):
    torch.save({}, tmp_path / 'model.pth')
    with pytest.raises(CheckpointError, match=r'12 missing: .*, \.\.\.\)'):
        load_model(nn.Sequential(*(nn.Linear(1, 1) for _ in range(6))), tmp_path / 'model.pth')

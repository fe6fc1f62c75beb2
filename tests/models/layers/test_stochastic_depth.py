"""Stochastic depth: who is dropped, and that nothing but the rows is kept for it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmcv.cnn.bricks import DropPath

from flsl_mm.models.layers import stochastic_depth
from flsl_mm.models.layers.stochastic_depth import (
    AddToRows,
    add_branch,
    draw_branches,
    draw_kept,
    drop_rate,
    plan_branches,
)

CPU = torch.device('cpu')


def add(x, branch, rate, groups):
    """One branch with stochastic depth, drawn anew."""
    kept = draw_branches([rate], [images for images, _ in groups])
    [plan] = plan_branches(kept, [rate], groups, CPU)
    return add_branch(x, branch, groups, plan)


@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=3),
    keep=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**31),
)
def test_as_many_images_are_kept_as_their_share_rounded_down_or_up(sizes, keep, seed):
    torch.manual_seed(seed)
    kept = draw_kept(sizes, keep)
    assert [part.shape for part in kept] == [(size,) for size in sizes]
    for part in (*kept, torch.cat(kept)):  # in each view size, and in all together
        assert part.dtype == torch.bool
        assert abs(part.sum().item() - len(part) * keep) < 1 + 1e-3  # rounding of float32


@pytest.mark.parametrize('keep', [0.15, 0.9, 0.99])
def test_every_image_is_kept_equally_often(keep):
    torch.manual_seed(0)
    draws = torch.stack([torch.cat(draw_kept([3, 7], keep)) for _ in range(4000)]).float()
    error = (keep * (1 - keep) / len(draws)) ** 0.5
    torch.testing.assert_close(draws.mean(0), torch.full((10,), keep), rtol=0, atol=4 * error)


def test_views_of_an_image_are_dropped_independently():
    """They stand a fixed number of places apart, in one view size or in two."""
    torch.manual_seed(0)
    dropped = []
    for _ in range(2000):
        x = torch.zeros(20 + 40, 1)
        out = add(x, lambda x, _: x + 1, 0.3, [(20, 1), (40, 1)])
        dropped.append((out == 0).view(3, 20))
    for one, other in ((0, 1), (1, 2)):
        both = torch.stack([d[one] & d[other] for d in dropped]).float().mean().item()
        assert both == pytest.approx(0.3 * 0.3, abs=0.015)


@pytest.mark.parametrize('compiling', [False, True])
def test_kept_images_get_their_branch_enlarged_and_the_others_nothing(monkeypatch, compiling):
    monkeypatch.setattr(stochastic_depth, 'is_compiling', lambda: compiling)
    torch.manual_seed(0)
    groups = [(20, 3), (30, 2)]
    x = torch.randn(120, 5)
    out = add(x, lambda x, _: 2 * x, 0.2, groups)
    for piece, tokens, (images, n) in zip((out - x).split(60), x.split(60), groups):
        piece, tokens = piece.view(images, n * 5), tokens.view(images, n * 5)
        kept = piece.abs().sum(1) > 0
        assert kept.sum().item() in range(int(0.8 * images) - 1, int(0.8 * images) + 2)
        torch.testing.assert_close(piece[kept], 2.5 * tokens[kept])


def test_without_training_or_a_rate_the_branch_is_added_whole():
    x = torch.randn(6, 4)
    for module in (DropPath(0.5).eval(), DropPath(0.0).train()):
        out = add(x, lambda x, groups: x + groups[0][0], drop_rate(module), [(2, 3)])
        torch.testing.assert_close(out, 2 * x + 2)
    assert drop_rate(DropPath(0.5).train()) == 0.5


def test_with_no_image_left_the_branch_still_takes_part():
    """Distributed training waits for the gradient of every parameter."""
    weight = torch.ones(4, requires_grad=True)
    x = torch.randn(3, 4)
    out = add(x, lambda x, _: x * weight, 1 - 1e-7, [(1, 3)])
    torch.testing.assert_close(out, x)
    out.sum().backward()
    assert torch.equal(weight.grad, torch.zeros(4))


@pytest.mark.parametrize('compiling', [False, True])
@pytest.mark.parametrize('rate', [0.05, 0.1])
def test_the_mean_stays_in_bfloat16(monkeypatch, rate, compiling):
    """1 / (1 - rate) itself is 0.2 % off in bfloat16, for every element."""
    monkeypatch.setattr(stochastic_depth, 'is_compiling', lambda: compiling)
    torch.manual_seed(0)
    noise = torch.rand(400, 1000).bfloat16()
    stream = torch.zeros_like(noise)
    out = add(stream, lambda x, _: noise[: len(x)], rate, [(400, 1)])
    kept = out[:, 0] != 0
    given = noise[kept] if compiling else noise[: kept.sum()]
    found, wanted = (x.double().mean().item() for x in (out[kept], given))
    assert found * (1 - rate) == pytest.approx(wanted, rel=5e-4)


def test_adding_to_rows_has_the_gradients_of_index_add():
    x, values = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 2))
    rows = torch.tensor([3, 1])
    torch.testing.assert_close(
        AddToRows.apply(x, rows, values, 1.25), x.index_add(0, rows, values, alpha=1.25)
    )
    assert torch.autograd.gradcheck(lambda x, v: AddToRows.apply(x, rows, v, 1.25), (x, values))


def test_adding_to_rows_keeps_neither_sum_nor_values():
    kept = []
    x, values = (torch.randn(n, 3, requires_grad=True) for n in (5, 2))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        AddToRows.apply(x, torch.tensor([0, 4]), values, 2.0)
    assert [x.shape for x in kept] == [(2,)]

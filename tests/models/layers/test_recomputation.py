"""A linear layer of a function whose output is not kept."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from mmengine.utils import digit_version

from flsl_mm.models.layers.recomputation import linear_of


def value_and_gradients(function, recompute, x, layer):
    x = x.detach().requires_grad_()
    out = linear_of(function, 2 * x, layer, recompute)
    return out, torch.autograd.grad(out.sin().sum(), [x, *layer.parameters()])


@pytest.mark.parametrize('function', [F.gelu, torch.nn.LayerNorm(4).double()])
def test_recomputing_changes_nothing(function):
    x, layer = torch.randn(5, 4).double(), torch.nn.Linear(4, 3).double()
    kept, recomputed = (value_and_gradients(function, r, x, layer) for r in (False, True))
    torch.testing.assert_close(recomputed, kept, rtol=0, atol=0)


def test_under_autocast_neither():
    x, layer = torch.randn(5, 4).bfloat16(), torch.nn.Linear(4, 3)
    with torch.autocast('cpu', torch.bfloat16):
        kept, recomputed = (value_and_gradients(F.gelu, r, x, layer) for r in (False, True))
    torch.testing.assert_close(recomputed, kept, rtol=0, atol=0)


@pytest.mark.skipif(
    digit_version(torch.__version__) < digit_version('2.4'),
    reason='weak references to storages crash there',
)
@pytest.mark.parametrize('recompute', [False, True])
def test_the_output_of_the_function_is_let_go(recompute):
    outputs = []

    def function(x):
        out = F.gelu(x)
        outputs.append(weakref.ref(out.untyped_storage()))
        return out

    x = torch.randn(5, 4, requires_grad=True)
    out = linear_of(function, x, torch.nn.Linear(4, 3), recompute)
    assert (outputs[0]() is None) == recompute
    calls = len(outputs)
    out.sum().backward()
    assert len(outputs) == calls + recompute


@pytest.mark.parametrize('side', [3, 4])
def test_other_tensors_of_the_same_shape_are_not_taken_for_it(side):
    """The weight of a square layer, with as many tokens as channels."""
    x, layer = torch.randn(side, side).double(), torch.nn.Linear(side, side).double()
    kept, recomputed = (value_and_gradients(F.gelu, r, x, layer) for r in (False, True))
    torch.testing.assert_close(recomputed, kept, rtol=0, atol=0)


def test_a_function_that_works_in_place_is_not_computed_again():
    x, layer = torch.randn(5, 4).double(), torch.nn.Linear(4, 3).double()
    kept, recomputed = (value_and_gradients(F.relu_, r, x, layer) for r in (False, True))
    torch.testing.assert_close(recomputed, kept, rtol=0, atol=0)


def test_without_gradients_it_is_the_plain_layer():
    x, layer = torch.randn(5, 4), torch.nn.Linear(4, 3)
    with torch.no_grad():
        assert torch.equal(linear_of(F.gelu, x, layer), layer(F.gelu(x)))


def test_second_derivatives_are_refused():
    x = torch.randn(5, 4, requires_grad=True)
    out = linear_of(F.gelu, x, torch.nn.Linear(4, 3)).sin().sum()
    with pytest.raises(RuntimeError, match='first derivatives only'):
        torch.autograd.grad(out, x, create_graph=True)[0].sum().backward()

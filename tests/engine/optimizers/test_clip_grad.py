import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.engine import clip_grad_norm_per_parameter_
from flsl_mm.engine.optimizers.clip_grad import _scale_together


@given(norms=st.lists(st.floats(0, 1e4), min_size=1, max_size=6), bound=st.floats(0.01, 100))
def test_each_gradient_is_bounded_by_itself_and_keeps_its_direction(norms, bound):
    parameters = [torch.zeros(4, dtype=torch.float64) for _ in norms]
    directions = [torch.nn.functional.normalize(torch.randn(4).double(), dim=0) for _ in norms]
    for parameter, direction, norm in zip(parameters, directions, norms):
        parameter.grad = direction * norm
    clip_grad_norm_per_parameter_(parameters, max_norm=bound)
    for parameter, direction, norm in zip(parameters, directions, norms):
        expected = direction * min(norm, bound)
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-9)


def test_parameters_without_gradient_are_left_out():
    with_gradient, without = torch.zeros(2), torch.zeros(2)
    with_gradient.grad = torch.tensor([3.0, 4.0])
    clip_grad_norm_per_parameter_([without, with_gradient], max_norm=1.0)
    torch.testing.assert_close(with_gradient.grad, torch.tensor([0.6, 0.8]))
    assert without.grad is None


def test_gradients_scaled_together_are_those_scaled_one_by_one():
    """As on a GPU, where a call for each is what takes time."""
    grads = [torch.randn(shape) for shape in ((3, 4), (5,), (2, 3, 1), ())]
    expected = [grad * factor for grad, factor in zip(grads, (0.3, 1.0, 0.7, 0.1))]
    _scale_together(grads, torch.tensor([0.3, 1.0, 0.7, 0.1]))
    assert all(map(torch.equal, grads, expected))

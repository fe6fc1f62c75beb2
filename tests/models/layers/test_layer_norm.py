import pytest
import torch
from torch import nn

from flsl_mm.models.layers import norm as layer_norm
from flsl_mm.models.layers.norm import apply_norm


def network(dims):
    torch.manual_seed(0)
    norm = nn.LayerNorm(dims)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def gradients(norm, x, grad):
    x = x.detach().requires_grad_()
    out = apply_norm(norm, x)
    return out, *torch.autograd.grad(out, (x, norm.weight, norm.bias), grad)


@pytest.mark.parametrize('rows', [7, 1024])
def test_bfloat16_tokens_are_normalized_with_exact_sums_in_the_gradients(monkeypatch, rows):
    monkeypatch.setattr(layer_norm, 'ROWS', rows)
    norm = network(48)
    x = torch.randn(2, 1500, 48).bfloat16()
    grad = (torch.randn(2, 1500, 48) + 0.1).bfloat16()
    found = gradients(norm, x, grad)
    wanted = gradients(norm, x.float(), grad.float())
    assert [y.dtype for y in found] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for value, exact in zip(found[:2], wanted[:2]):
        torch.testing.assert_close(value.float(), exact, rtol=2**-8, atol=2**-8)
    torch.testing.assert_close(found[2:], wanted[2:], rtol=1e-4, atol=1e-3)


def test_rows_need_not_lie_one_after_the_other():
    norm = network(48)
    x = torch.randn(4, 48, 5).bfloat16().transpose(1, 2)
    found = gradients(norm, x, torch.ones(4, 5, 48).bfloat16())
    wanted = gradients(norm, x.contiguous(), torch.ones(4, 5, 48).bfloat16())
    torch.testing.assert_close(found, wanted)


def test_compilers_get_the_kernel_in_bfloat16(monkeypatch):
    norm = network(48)
    x, grad = torch.randn(2, 20, 48).bfloat16()
    wanted = gradients(norm, x, grad)
    monkeypatch.setattr(layer_norm, 'is_compiling', lambda: True)
    with torch.autocast('cpu', torch.bfloat16):
        found = gradients(norm, x, grad)
    assert [y.dtype for y in found] == [y.dtype for y in wanted]
    for value, exact in zip(found, wanted):
        assert (value - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_layers_of_another_format_are_left_to_themselves(dtype):
    norm = network(8).to(dtype)
    x = torch.randn(3, 8, dtype=dtype)
    assert torch.equal(apply_norm(norm, x), norm(x))


@pytest.mark.parametrize('options', [dict(bias=False), dict(elementwise_affine=False)])
def test_layers_without_parameters_are_left_to_themselves(options):
    norm = nn.LayerNorm(8, **options)
    x = torch.randn(3, 8).bfloat16()
    assert torch.equal(apply_norm(norm, x), norm(x))

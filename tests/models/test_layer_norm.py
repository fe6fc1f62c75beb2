import pytest
import torch
from torch import nn

from flsl_mm.models import layer_norm
from flsl_mm.models.layer_norm import normalize


def network(dims):
    torch.manual_seed(0)
    norm = nn.LayerNorm(dims)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def gradients(norm, x, grad):
    x = x.detach().requires_grad_()
    out = normalize(norm, x)
    return out, *torch.autograd.grad(out, (x, norm.weight, norm.bias), grad)


@pytest.mark.parametrize('rows', [7, 1024])
def test_bfloat16_tokens_are_normalised_with_exact_sums_in_the_gradients(monkeypatch, rows):
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


def test_compilers_and_gpus_get_the_kernel_in_bfloat16(monkeypatch):
    monkeypatch.setattr(layer_norm, 'is_compiling', lambda: True)
    norm = network(48)
    x = torch.randn(20, 48).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        out = normalize(norm, x)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), norm(x.float()), rtol=2**-6, atol=2**-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_other_formats_go_to_the_layer(dtype):
    norm = network(8).to(dtype)
    x = torch.randn(3, 8, dtype=dtype)
    assert torch.equal(normalize(norm, x), norm(x))

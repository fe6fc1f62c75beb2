import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from flsl_mm.models import blocked_attention
from flsl_mm.models.blocked_attention import BlockedAttention, attend


def qkv(shape, dtype=torch.float64):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]


@settings(max_examples=30)
@given(
    block=st.integers(1, 400),
    batch=st.integers(1, 4),
    heads=st.integers(1, 3),
    tokens=st.integers(1, 9),
)
def test_every_cut_into_blocks_gives_the_same_attention_and_gradients(block, batch, heads, tokens):
    inputs = qkv((batch, heads, tokens, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked_attention, 'BLOCK', block)
        out = BlockedAttention.apply(*inputs)
        weights = torch.randn_like(out)
        grads = torch.autograd.grad((out * weights).sum(), inputs)
    expected = F.scaled_dot_product_attention(*inputs)
    torch.testing.assert_close(out, expected)
    expected_grads = torch.autograd.grad((expected * weights).sum(), inputs)
    for found, wanted in zip(grads, expected_grads):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('block', [20, 10**6])
def test_gradients_of_relative_positions_are_those_of_finite_differences(monkeypatch, block):
    monkeypatch.setattr(blocked_attention, 'BLOCK', block)
    positions = [torch.randn(n, n, 3, dtype=torch.float64, requires_grad=True) for n in (2, 3)]
    assert torch.autograd.gradcheck(BlockedAttention.apply, (*qkv((1, 2, 6, 3)), *positions))


def test_only_the_inputs_are_kept_for_the_backward_pass():
    kept = []
    inputs = qkv((2, 3, 50, 4))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        BlockedAttention.apply(*inputs)
    assert sorted(x.data_ptr() for x in kept) == sorted(x.data_ptr() for x in inputs)


def test_bfloat16_on_a_cpu_is_exact_up_to_rounding():
    exact = qkv((2, 3, 40, 16), torch.float32)
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    with torch.autocast('cpu', torch.bfloat16):
        out = attend(*rounded)
    assert out.dtype == torch.bfloat16
    expected = F.scaled_dot_product_attention(*exact)
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.03)
    expected_grads = torch.autograd.grad(expected.sum(), exact)
    for found, wanted in zip(torch.autograd.grad(out.float().sum(), rounded), expected_grads):
        torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0.06)


def test_dropout_drops():
    inputs = [x.bfloat16() for x in qkv((1, 1, 30, 4))]
    assert not torch.equal(attend(*inputs, dropout=0.5), attend(*inputs))

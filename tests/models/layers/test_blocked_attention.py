import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flsl_mm.models.layers import attention as blocked_attention
from flsl_mm.models.layers.attention import BlockedAttention, attend, split_heads


def packed(groups, heads=2, dims=4, dtype=torch.float64):
    torch.manual_seed(0)
    tokens = sum(images * length for images, length in groups)
    return torch.randn(tokens, 3 * heads * dims, dtype=dtype, requires_grad=True)


def attend_plainly(qkv, groups, heads):
    """The oracle: one image and one head after the other."""
    dims = qkv.shape[1] // 3 // heads
    outs, start = [qkv[:0, : heads * dims]], 0
    for images, length in groups:
        for _ in range(images):
            image = qkv[start : start + length]
            start += length
            q, k, v = (x.split(dims, dim=1) for x in image.chunk(3, dim=1))
            logits = [q[h] @ k[h].T / dims**0.5 for h in range(heads)]
            outs.append(torch.cat([logits[h].softmax(-1) @ v[h] for h in range(heads)], dim=1))
    return torch.cat(outs)


groups_of_images = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), min_size=1, max_size=3)


@settings(max_examples=30)
@given(block=st.integers(1, 400), groups=groups_of_images, heads=st.integers(1, 3))
def test_every_cut_into_blocks_gives_the_same_attention_and_gradients(block, groups, heads):
    qkv = packed(groups, heads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocked_attention, 'BLOCK', block)
        out = BlockedAttention.apply(qkv, groups, heads)
        weights = torch.randn_like(out)
        [grad] = torch.autograd.grad((out * weights).sum(), qkv)
    expected = attend_plainly(qkv, groups, heads)
    torch.testing.assert_close(out, expected)
    [expected_grad] = torch.autograd.grad((expected * weights).sum(), qkv)
    torch.testing.assert_close(grad, expected_grad)


@given(groups=groups_of_images, heads=st.integers(1, 3))
def test_fused_attention_of_packed_tokens_is_that_of_each_image(groups, heads):
    qkv = packed(groups, heads)
    outs = [function(qkv, groups, heads) for function in (attend, attend_plainly)]
    torch.testing.assert_close(*outs)
    weights = torch.randn_like(outs[0])
    torch.testing.assert_close(*(torch.autograd.grad(x, qkv, weights) for x in outs))


@pytest.mark.parametrize('block', [20, 10**6])
def test_gradients_of_relative_positions_are_those_of_finite_differences(monkeypatch, block):
    monkeypatch.setattr(blocked_attention, 'BLOCK', block)
    groups, heads = [(2, 6)], 2
    positions = [torch.randn(n, n, 3, dtype=torch.float64, requires_grad=True) for n in (2, 3)]
    inputs = (packed(groups, heads, dims=3), groups, heads, *positions)
    assert torch.autograd.gradcheck(BlockedAttention.apply, inputs)


def test_only_the_inputs_are_kept_for_the_backward_pass():
    kept = []
    groups = [(2, 50), (1, 20)]
    qkv = packed(groups)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        BlockedAttention.apply(qkv, groups, 2)
    assert [x.data_ptr() for x in kept] == [qkv.data_ptr()]


@pytest.mark.parametrize('block', [2000, 10**6])  # the rows of one image in parts, and all at once
def test_bfloat16_on_a_cpu_is_exact_up_to_rounding(monkeypatch, block):
    monkeypatch.setattr(blocked_attention, 'BLOCK', block)
    groups, heads = [(2, 60), (3, 10)], 3
    exact = packed(groups, heads, 16, torch.float32)
    rounded = exact.detach().bfloat16().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        out = attend(rounded, groups, heads)
    assert out.dtype == torch.bfloat16
    expected = attend_plainly(exact, groups, heads)
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0.03)
    [wanted] = torch.autograd.grad(expected.sum(), exact)
    [found] = torch.autograd.grad(out.float().sum(), rounded)
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0.06)


def test_dropout_drops():
    groups = [(1, 30)]
    qkv = packed(groups).bfloat16()
    assert not torch.equal(attend(qkv, groups, 2, dropout=0.5), attend(qkv, groups, 2))


def test_heads_are_split_without_copying():
    qkv = packed([(2, 3), (1, 2)])
    first, second = split_heads(qkv, [(2, 3), (1, 2)], 2, 3)
    assert first.shape == (3, 2, 2, 3, 4) and second.shape == (3, 1, 2, 2, 4)
    # The keys of the second head of the second group's tokens.
    assert torch.equal(second[1, 0, 1], qkv[6:, 8 + 4 : 16])
    assert second._base is not None and second.data_ptr() == qkv[6:].data_ptr()


def test_the_backward_pass_may_run_under_autocast():
    groups = [(1, 6)]
    qkv = packed(groups, dtype=torch.float32)
    positions = [torch.randn(n, n, 4) for n in (2, 3)]
    wanted = torch.autograd.grad(BlockedAttention.apply(qkv, groups, 2, *positions).sum(), qkv)
    with torch.autocast('cpu', torch.bfloat16):
        out = BlockedAttention.apply(qkv, groups, 2, *positions)
        torch.testing.assert_close(torch.autograd.grad(out.sum(), qkv), wanted)

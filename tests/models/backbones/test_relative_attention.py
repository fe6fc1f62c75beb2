import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from flsl_mm.models.backbones.relative_attention import (
    attend_folded,
    attend_relative,
    merge_windows,
    partition_windows,
    relative_positions,
)
from flsl_mm.models.layers import attention as blocked_attention

HEADS = 3


def attend_plainly(qkv, heads, rel_h, rel_w):
    """The oracle: N x N logits, with the decomposed bias added entry by entry."""
    rows, columns, dims = len(rel_h), len(rel_w), rel_h.shape[-1]
    q, k, v = qkv.view(-1, rows * columns, 3, heads, dims).permute(2, 0, 3, 1, 4)
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    logits = logits + torch.einsum('bhqd,qkd->bhqk', q, rel_h[row][:, row])
    logits = logits + torch.einsum('bhqd,qkd->bhqk', q, rel_w[column][:, column])
    return (logits.softmax(-1) @ v).transpose(1, 2).reshape(len(qkv), -1)


def tensors(rows, columns, dims, batch=2, dtype=torch.float64):
    torch.manual_seed(rows * columns + dims)
    shapes = [(batch * rows * columns, 3 * HEADS * dims)]
    shapes += [(rows, rows, dims), (columns, columns, dims)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def run(attend, qkv, *positions):
    return attend(qkv, HEADS, *positions)


# The CPU's way and the GPUs'.
both_ways = pytest.mark.parametrize('attend', [attend_relative, attend_folded])


@both_ways
@settings(max_examples=20)
@given(rows=st.integers(1, 7), columns=st.integers(1, 7), dims=st.sampled_from([4, 16, 25]))
def test_attention_equals_the_plain_one_with_its_gradients(attend, rows, columns, dims):
    inputs = tensors(rows, columns, dims)
    outs = [run(function, *inputs) for function in (attend, attend_plainly)]
    torch.testing.assert_close(*outs, rtol=1e-10, atol=1e-12)
    weights = torch.randn_like(outs[0])
    grads = [torch.autograd.grad((out * weights).sum(), inputs) for out in outs]
    for fast, plain in zip(*grads):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-10)


@both_ways
def test_attention_holds_no_matrix_of_all_token_pairs(attend):
    rows = columns = 48
    pairs = 3 * (rows * columns) ** 2 * 4  # bytes of one matrix of logits
    inputs = tensors(rows, columns, 16, batch=1, dtype=torch.float32)

    def largest_allocation(function):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            run(function, *inputs).sum().backward()
        return max(event.self_cpu_memory_usage for event in profiler.events())

    assert largest_allocation(attend) < pairs / 4
    assert largest_allocation(attend_plainly) >= pairs


def relative_error(found, wanted):
    return ((found.float() - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize('block', [100, 10**6])  # sums over pieces and rows, and none
def test_attention_in_bfloat16_is_exact_up_to_rounding(monkeypatch, block):
    monkeypatch.setattr(blocked_attention, 'BLOCK', block)
    inputs = tensors(4, 5, 16, dtype=torch.float32)
    rounded = [inputs[0].detach().bfloat16().requires_grad_(), *inputs[1:]]
    with torch.autocast('cpu', torch.bfloat16):
        found = run(attend_relative, *rounded)
    wanted = run(attend_plainly, *inputs)
    weights = torch.randn_like(wanted)
    grads = torch.autograd.grad((found.float() * weights).sum(), rounded)
    wanted_grads = torch.autograd.grad((wanted * weights).sum(), inputs)
    assert [x.dtype for x in (found, *grads)] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for value, exact in zip((found, *grads), (wanted, *wanted_grads)):
        assert relative_error(value, exact) < 0.05  # products of operands rounded to 8 bits


@both_ways
def test_attention_of_no_image_is_empty(attend):
    inputs = tensors(2, 3, 4, batch=0)
    assert run(attend, *inputs).shape == (0, HEADS * 4)


def test_relative_positions_are_looked_up_by_query_minus_key():
    table = torch.arange(5.0).view(5, 1)
    expected = torch.tensor([[2.0, 1, 0], [3, 2, 1], [4, 3, 2]])
    assert torch.equal(relative_positions(table, 3)[..., 0], expected)


@pytest.mark.parametrize('length', [1, 2, 5, 9])
def test_relative_positions_of_another_length_are_resized_linearly(length):
    table = torch.linspace(-1, 1, 9).view(9, 1)  # an odd function of the offset stays odd
    embedding = relative_positions(table, length)[..., 0]
    assert embedding.shape == (length, length)
    torch.testing.assert_close(embedding, -embedding.T)
    assert (embedding.diff(dim=0) > 0).all()


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), window=st.integers(1, 5))
def test_windows_merge_back_to_the_grid(rows, columns, window):
    x = torch.randn(2, rows, columns, 3)
    windows = partition_windows(x, window)
    assert windows.shape[1:] == (window, window, 3)
    assert torch.equal(merge_windows(windows, (rows, columns)), x)


def test_windows_are_neighborhoods_in_row_major_order():
    x = torch.arange(16.0).view(1, 4, 4, 1)
    windows = partition_windows(x, 2)[..., 0]
    assert windows[1].tolist() == [[2, 3], [6, 7]]
    assert windows[2].tolist() == [[8, 9], [12, 13]]

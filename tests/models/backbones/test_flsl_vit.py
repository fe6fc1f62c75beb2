from functools import partial

import pytest
import torch
from mmpretrain.models import VisionTransformer
from mmpretrain.registry import MODELS
from torch.profiler import ProfilerActivity, profile

from flsl_mm.checkpoint import PretrainedViT
from flsl_mm.models import ClassTokenViT, FLSLVisionTransformer
from flsl_mm.models.backbones import flsl_vit
from flsl_mm.models.backbones.flsl_vit import sincos_position_embedding
from flsl_mm.models.layers import stochastic_depth
from flsl_mm.models.layers.recomputation import linear_of
from flsl_mm.utils.errors import ConfigError

ARCH = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=96)


def build(**kwargs) -> FLSLVisionTransformer:
    torch.manual_seed(0)
    model = FLSLVisionTransformer(**{**dict(arch=ARCH, img_size=64, patch_size=16), **kwargs})
    model.init_weights()
    return model


@pytest.mark.parametrize(
    'arch, patch_size, millions',
    [('deit-small', 16, 21), ('deit-small', 8, 21), ('deit-base', 16, 85)],
)
def test_sizes_are_those_of_the_paper(arch, patch_size, millions):
    with torch.device('meta'):
        model = FLSLVisionTransformer(arch=arch, patch_size=patch_size)
    count = sum(p.numel() for n, p in model.named_parameters() if n != 'pos_embed')
    assert int(count / 1e6) == millions


def test_packed_views_equal_views_encoded_one_by_one():
    model = build(out_type='raw').double().eval()
    sizes = [(2, 64, 64), (2, 32, 32), (2, 32, 32), (1, 48, 80), (3, 64, 64)]
    views = [torch.randn(b, 3, h, w, dtype=torch.float64) for b, h, w in sizes]
    packed = model.forward_tokens(views)
    for view, tokens in zip(views, packed):
        torch.testing.assert_close(tokens, model(view)[-1], rtol=1e-10, atol=1e-12)


def test_packed_gradients_equal_those_of_separate_passes():
    model = build(out_type='raw').double().eval()
    views = [torch.randn(2, 3, s, s, dtype=torch.float64) for s in (64, 32)]
    sum(t.pow(2).sum() for t in model.forward_tokens(views)).backward()
    packed = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    sum(model(v)[-1].pow(2).sum() for v in views).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-9, atol=1e-10)


def test_packed_views_read_the_position_table_in_their_windows():
    model = build(position_window=(0.25, 1.0)).double()
    views = [torch.randn(2, 3, s, s, dtype=torch.float64) for s in (64, 32)]
    quarter = torch.tensor([[0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1]], dtype=torch.float64)
    whole = torch.tensor([[0.0, 0, 1, 1]] * 2, dtype=torch.float64)
    plain, windowed = (
        model.forward_tokens(views),
        model.forward_tokens(views, windows=[whole, quarter]),
    )
    torch.testing.assert_close(windowed[0], plain[0])
    table = model.pos_embed.unflatten(1, (4, 4))
    for i, part in enumerate((table[:, :2, 2:], table[:, 2:, :2])):
        x = model.patch_embed(views[1][i : i + 1])[0] + part.flatten(1, 2)
        for layer in model.layers:
            x = layer(x)
        torch.testing.assert_close(windowed[1][i : i + 1], model.ln1(x))


def test_the_network_itself_draws_no_windows():
    """Frozen evaluation and fine-tuning use the table as it is."""
    model = build(position_window=(0.25, 1.0), out_type='raw')
    view = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        model.train(mode)
        torch.testing.assert_close(model(view)[-1], build(out_type='raw').train(mode)(view)[-1])


@pytest.mark.parametrize('window', [(0, 1), (0.5, 0.25), (0.5, 1.5), (0.5,)])
def test_a_position_window_out_of_range_is_refused(window):
    with pytest.raises(ValueError, match='position_window must be None or'):
        build(position_window=window)


def test_stochastic_depth_drops_whole_images_in_training_only():
    torch.manual_seed(0)
    model = build(drop_path_rate=0.9)
    # With every block's output a constant, a dropped image keeps its embedding in that block.
    for layer in model.layers:
        torch.nn.init.zeros_(layer.attn.proj.weight)
        torch.nn.init.zeros_(layer.ffn.layers[1].weight)
        torch.nn.init.ones_(layer.ffn.layers[1].bias)
    model.ln1 = torch.nn.Identity()
    views = [torch.zeros(16, 3, 64, 64), torch.zeros(16, 3, 32, 32)]
    model.train()
    for tokens, view in zip(model.forward_tokens(views), views):
        added = (tokens - model.embed(view)).mean(-1)  # (B, N)
        assert torch.allclose(added, added[:, :1].expand_as(added), atol=1e-5)
        assert len(added[:, 0].round(decimals=3).unique()) > 1
    model.eval()
    added = model.forward_tokens(views)[0] - model.embed(views[0])
    assert torch.allclose(added, torch.full_like(added, 3.0), atol=1e-5)


def test_the_position_table_is_fixed_and_has_columns_first():
    model = build()
    assert not model.pos_embed.requires_grad
    table = sincos_position_embedding((3, 5), 8).view(3, 5, 8)
    columns, rows = table[..., :4], table[..., 4:]
    assert torch.equal(columns[0], columns[2]) and torch.equal(rows[:, 0], rows[:, 4])
    assert table[2, 3, 0] == pytest.approx(torch.tensor(3.0).sin().item())
    assert table[2, 3, 4] == pytest.approx(torch.tensor(2.0).sin().item())


def test_odd_table_widths_are_refused():
    with pytest.raises(ValueError, match='divisible by 4, got 6'):
        sincos_position_embedding((2, 2), 6)


def test_other_input_sizes_get_an_interpolated_table():
    model = build(out_type='raw').eval()
    assert model(torch.randn(1, 3, 96, 48))[-1].shape == (1, 18, 48)
    image = torch.randn(1, 3, 70, 65)
    padded = torch.nn.functional.pad(image, (0, 15, 0, 10))
    torch.testing.assert_close(model(image)[-1], model(padded)[-1])
    assert model.grid_of(image) == model.grid_of(padded) == (5, 5)


def test_weights_go_to_mmpretrain_and_back():
    model = build().eval()
    plain = VisionTransformer(
        arch=ARCH, img_size=64, patch_size=16, out_type='featmap', with_cls_token=False
    )
    plain.eval()
    plain.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(plain(images)[-1], model(images)[-1])


@pytest.mark.parametrize('kind', ['Pretrained', 'mmpretrain.PretrainedViT', PretrainedViT])
@pytest.mark.parametrize('alone', [True, False])
def test_pretrained_weights_survive_initialization(tmp_path, kind, alone):
    saved = build()
    torch.save(saved.state_dict(), tmp_path / 'vit.pth')
    config = dict(type=kind, checkpoint=str(tmp_path / 'vit.pth'))
    if not alone:
        config = [config, dict(type='TruncNormal', layer='Linear', std=0.5)]
    torch.manual_seed(1)
    model = MODELS.build(
        dict(type='FLSLVisionTransformer', arch=ARCH, img_size=64, patch_size=16, init_cfg=config)
    )
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name]), name


def test_a_class_token_is_refused_and_none_may_be_asked_for():
    assert build(with_cls_token=False).cls_token is None
    with pytest.raises(ValueError, match='has no class token'):
        build(with_cls_token=True)


def tokens_and_gradients(model, views, seed=3):
    torch.manual_seed(seed)
    model.zero_grad()
    tokens = model.forward_tokens(views)
    sum(t.pow(2).sum() for t in tokens).backward()
    return tokens, {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('rate', [0.5, 0.999])  # at the latter no image is left in a block
def test_computing_only_the_kept_images_equals_masking_the_dropped_ones(monkeypatch, rate):
    model = build(drop_path_rate=rate).double().train()
    views = [torch.randn(b, 3, s, s, dtype=torch.float64) for b, s in ((4, 64), (4, 32), (1, 48))]
    sparse = tokens_and_gradients(model, views)
    monkeypatch.setattr(stochastic_depth, 'is_compiling', lambda: True)  # as on a GPU
    masked = tokens_and_gradients(model, views)
    torch.testing.assert_close(sparse, masked, rtol=1e-9, atol=1e-9)


def kept_for_backward(function) -> list[torch.Tensor]:
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        function()
    return kept


def memory_kept(function) -> int:
    """Bytes that are allocated after ``function``, and were not before, with what it returns."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = function()
    used = sum(event.self_cpu_memory_usage for event in profiler.key_averages())
    del result
    return used


@pytest.mark.parametrize('dtype, autocast', [(torch.float64, False), (torch.float32, True)])
def test_recomputing_blocks_keeps_less_and_changes_nothing(dtype, autocast):
    model = build(arch={**ARCH, 'num_layers': 8}, drop_path_rate=0.5).to(dtype).train()
    views = [torch.randn(4, 3, s, s, dtype=dtype) for s in (64, 32)]
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        plain = tokens_and_gradients(model, views)
        much = memory_kept(lambda: model.forward_tokens(views))
        model.with_cp = True
        torch.testing.assert_close(tokens_and_gradients(model, views), plain)
        little = memory_kept(lambda: model.forward_tokens(views))
    assert little < much / 2


@pytest.mark.skipif(
    not hasattr(torch, 'get_autocast_dtype'), reason="torch 2.1's profiler misses allocations"
)
@pytest.mark.parametrize('network', [FLSLVisionTransformer, ClassTokenViT])
def test_frozen_blocks_drop_nothing_and_have_no_gradients(network, monkeypatch):
    torch.manual_seed(0)
    options = dict(arch=ARCH, img_size=64, patch_size=16, drop_path_rate=0.9)
    model = network(**options, frozen_stages=2).train()
    inputs, block = [], flsl_vit._packed_block
    monkeypatch.setattr(
        flsl_vit, '_packed_block', lambda *args: inputs.append(args[-1]) or block(*args)
    )
    views = [torch.randn(8, 3, 64, 64), torch.randn(8, 3, 32, 32)]
    sum(tokens.sum() for tokens in model.forward_tokens(views)).backward()
    with torch.no_grad():
        model.eval().forward_tokens(views)
    training, evaluation = inputs[:3], inputs[3:]
    for ours, expected in zip(training, evaluation):
        assert not ours.requires_grad and torch.equal(ours, expected)
    trained = {n for n, p in model.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in model.named_parameters() if n.startswith(('layers.2', 'ln1'))}


def test_frozen_blocks_keep_nothing_for_the_backward_pass():
    views = [torch.randn(2, 3, 64, 64), torch.randn(2, 3, 32, 32)]
    much, little, last = (
        memory_kept(partial(build(frozen_stages=number).train().forward_tokens, views))
        for number in (-1, 1, 2)
    )
    assert little - last == pytest.approx((much - last) / 2, rel=0.2)


def test_frozen_stages_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match=r'frozen_stages=4 is outside \[-1, depth=3\]'):
        FLSLVisionTransformer(arch=ARCH, frozen_stages=4)


def test_no_output_of_layer_norm_or_gelu_is_kept(monkeypatch):
    model = build().train()
    views = [torch.randn(50, 3, 64, 64)]
    little = memory_kept(lambda: model.forward_tokens(views))
    plain = partial(linear_of, recompute=False)
    monkeypatch.setattr(flsl_vit, 'linear_of', lambda *args, recompute: plain(*args))
    much = memory_kept(lambda: model.forward_tokens(views))
    outputs = 50 * 16 * (48 + 48 + 96) * 4 * 3  # of three blocks, in float32
    assert much - little == pytest.approx(outputs, rel=0.05)


@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_many_images_are_counted_exactly_in_bfloat16(rate):
    """Of which 257 is not a number."""
    model = build(drop_path_rate=rate).train()
    views = [torch.randn(b, 3, 16, 16) for b in (300, 700)]
    with torch.autocast('cpu', torch.bfloat16):
        for _ in range(5):
            assert [len(x) for x in model.forward_tokens(views)] == [300, 700]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_no_matrix_of_all_token_pairs_is_kept(dtype):
    model = build(img_size=224, patch_size=8).train()
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
        kept = kept_for_backward(lambda: model.forward_tokens([torch.randn(1, 3, 224, 224)]))
    assert max(x.numel() for x in kept) < 784**2


@pytest.mark.skipif(
    not hasattr(torch, 'get_autocast_dtype'), reason='torch before 2.4 keeps float32'
)
def test_under_bfloat16_autocast_the_stream_is_bfloat16_and_the_tokens_float32():
    model = build(layer_scale_init_value=0.5).eval()
    dtypes = []
    for layer in (model.layers[2].attn.qkv, model.ln1):
        layer.register_forward_pre_hook(lambda _, inputs: dtypes.append(inputs[0].dtype))
    views = [torch.randn(2, 3, s, s) for s in (64, 32)]
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    exact = model.forward_tokens(views)
    with torch.autocast('cpu', torch.bfloat16):
        rounded = model.forward_tokens(views)
    assert dtypes == [torch.float32] * 2 + [torch.bfloat16, torch.float32]
    assert {x.dtype for x in rounded} == {torch.float32}
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)
    weights = [torch.randn_like(x) for x in exact]
    grads = [torch.autograd.grad(x, list(parameters.values()), weights) for x in (exact, rounded)]
    for name, wanted, found in zip(parameters, *grads):
        assert (found - wanted).norm() < 0.05 * wanted.norm(), name


@pytest.mark.parametrize(
    'dtype, autocast',
    [
        (torch.float16, False),
        (torch.bfloat16, False),
        (torch.bfloat16, True),
        (torch.float64, True),
    ],
)
def test_models_of_another_format_keep_it(dtype, autocast):
    model = build().to(dtype).eval()
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        [tokens] = model.forward_tokens([torch.randn(1, 3, 64, 64, dtype=dtype)])
    assert tokens.dtype == dtype


@pytest.mark.parametrize('rate', [-0.1, 1.0, float('nan')])
def test_a_rate_of_stochastic_depth_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match=r'drop_path_rate must be in \[0, 1\)'):
        build(drop_path_rate=rate)

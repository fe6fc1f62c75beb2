"""A student that encodes a share of its tokens."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from flsl_mm.models import ClassTokenViT, FLSLVisionTransformer
from flsl_mm.models.layers.positions import gather_tokens
from flsl_mm.models.necks.queries import draw_places
from flsl_mm.utils.errors import ConfigError

VIT = dict(
    type='FLSLVisionTransformer',
    arch=dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192),
    img_size=128,
    patch_size=16,
)
OPTIONS = {
    'one pair': {},
    'two pairs': dict(num_teacher_views=2),
    'drawn queries': dict(neck=dict(random_queries=True)),
    'positions': dict(neck=dict(positional_positives=True)),
    'a prior of place': dict(neck=dict(place_width=2.0)),
    'an automatic scale': dict(neck=dict(self_scale='auto', cross_scale=None)),
    'windows of positions': dict(backbone=dict(position_window=(0.25, 1.0))),
    'multi-stage': dict(
        previous_teacher=dict(VIT, init_cfg=dict(type='TruncNormal', layer='Linear', std=0.5))
    ),
}


def build(build_flsl, keep=0.5, **options):
    torch.manual_seed(0)
    model = build_flsl(student_keep=keep, **options)
    model.init_weights()
    return model.double().train()


def make_batch(model) -> dict:
    generator = torch.Generator().manual_seed(1)
    sizes = (128, 128) * model.num_teacher_views + (64, 64)
    views = [torch.randn(3, 3, s, s, generator=generator).double() for s in sizes]
    corner = 40 * torch.rand(3, len(views), 2, generator=generator)
    boxes = torch.cat([corner, corner + 60], dim=-1)
    batch = dict(inputs=views, data_samples=[DataSample(view_boxes=box) for box in boxes])
    return dict(batch, clean_inputs=views) if model.previous_teacher is not None else batch


def masked_tokens(vit, images, windows=None, kept=None, places=None):
    """All tokens through every block, where only the kept ones are attended to; then those."""
    assert kept is None  # no stochastic depth
    tokens = []
    for view, chosen, window in zip(images, places, windows or [None] * len(images)):
        x = vit.embed(view, window)
        seen = torch.zeros(x.shape[:2], dtype=torch.bool).scatter(1, chosen, True)[:, None, None]
        for layer in vit.layers:
            q, k, v = layer.attn.qkv(layer.ln1(x)).unflatten(-1, (3, 3, -1)).permute(2, 0, 3, 1, 4)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            x = x + layer.attn.proj(out.transpose(1, 2).flatten(2))
            x = layer.ffn(layer.ln2(x), identity=x)
        tokens.append(gather_tokens(vit.ln1(x), chosen))
    return tokens


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
def test_the_dropped_tokens_are_as_if_masked_out_of_a_dense_pass(build_flsl, options):
    model = build(build_flsl, **options)
    twin = copy.deepcopy(model)
    twin.backbone.forward_tokens = partial(masked_tokens, twin.backbone)
    found = []
    for network in (model, twin):
        torch.manual_seed(2)
        losses = network(**make_batch(network), mode='loss')
        network.parse_losses(losses)[0].backward()
        grads = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        found.append((losses, grads))
    (losses, grads), (expected, expected_grads) = found
    assert losses.keys() == expected.keys() and grads.keys() == expected_grads.keys()
    for ours, plain in ((losses, expected), (grads, expected_grads)):
        for name in plain:
            torch.testing.assert_close(ours[name], plain[name], rtol=1e-9, atol=1e-12, msg=name)


def test_blocks_see_the_kept_tokens_and_the_teacher_s_see_all(build_flsl):
    model = build(build_flsl, keep=0.25, num_teacher_views=2)
    seen = {}
    for name, vit in (('student', model.backbone), ('teacher', model.teacher.backbone)):
        vit.layers[0].ln1.register_forward_hook(
            lambda _, args, __, name=name: seen.update({name: args[0].shape[0]})
        )
    model.eval()(**make_batch(model), mode='loss')
    assert seen == dict(student=3 * (2 * 16 + 2 * 4), teacher=3 * 2 * 64)


def test_every_image_has_as_many_queries_and_windows_of_its_own(build_flsl, monkeypatch):
    model = build(build_flsl, keep=0.5)
    seen = []
    loss = model.head.loss
    monkeypatch.setattr(model.head, 'loss', lambda *args: seen.append(args) or loss(*args))
    model(**make_batch(model), mode='loss')
    assert len(seen[0][0]) == 3 * (8 + 2 + 2)
    places = model.draw_places(make_batch(model)['inputs'])
    assert [kept.shape for kept in places] == [(3, 32), (3, 8), (3, 8)]
    assert not torch.equal(places[0][0], places[0][1])


@pytest.mark.parametrize(
    'grid, window, keep, kept',
    [
        ((8, 8), 2, 0.5, 32),
        ((8, 8), 2, 1.0, 64),
        ((6, 4), 1, 0.26, 6),
        ((14, 14), 4, 0.5, 96),
        ((14, 14), 4, 0.99, 144),  # whole windows fit no more than these
        ((4, 4), 4, 0.1, 16),  # at least one
    ],
)
def test_whole_windows_are_kept(grid, window, keep, kept):
    places = draw_places(grid, window, 5, keep)
    assert places.shape == (5, kept)
    blocks = places.unflatten(1, (-1, window, window))
    corners = blocks[:, :, :1, :1]
    steps = torch.arange(window)
    assert torch.equal(blocks - corners, (grid[1] * steps[:, None] + steps).expand_as(blocks))
    assert all(len(row.unique()) == kept for row in places)
    assert int((corners % grid[1]).max()) + window <= grid[1]


def test_every_window_is_kept_as_often():
    torch.manual_seed(0)
    counts = draw_places((8, 8), 2, 4000, 0.25).flatten().bincount(minlength=64)
    assert (counts - 1000).abs().max() < 150  # five standard deviations


def test_all_of_the_tokens_draw_nothing(build_flsl):
    """The paper's way stays, number by number."""
    results = []
    for options in ({}, dict(keep=1.0)):
        model = build(build_flsl, **{'keep': 1.0, **options})
        torch.manual_seed(3)
        results.append(model(**make_batch(model), mode='loss')['loss_inter'])
        state = torch.get_rng_state()
    assert model.draw_places(make_batch(model)['inputs']) is None
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(*results)


def test_prefix_tokens_are_always_encoded():
    vit = ClassTokenViT(**{k: v for k, v in VIT.items() if k != 'type'}).eval()
    view = torch.randn(2, 3, 128, 128)
    everything = torch.arange(64).expand(2, -1)
    [dense] = vit.forward_tokens([view], with_prefix=True)
    [kept] = vit.forward_tokens([view], with_prefix=True, places=[everything])
    torch.testing.assert_close(kept, dense)
    [few] = vit.forward_tokens([view], places=[everything[:, :8]])
    assert few.shape == (2, 8, 48)


@pytest.mark.parametrize('keep', [0.0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(build_flsl, keep):
    with pytest.raises(ConfigError, match=r'student_keep must be in \(0, 1\]'):
        build_flsl(student_keep=keep)


def test_a_backbone_that_encodes_everything_is_refused(build_flsl, monkeypatch):
    monkeypatch.setattr(FLSLVisionTransformer, 'forward_tokens', lambda self, images: images)
    with pytest.raises(ConfigError, match='encodes all tokens of a view'):
        build_flsl(student_keep=0.5)

"""Foreign ViTs through timm."""

import json
import sys

import numpy as np
import pytest
import torch

pytest.importorskip('timm')

from flsl_mm.checkpoint import CheckpointError  # noqa: E402
from flsl_mm.checkpoint.foreign import convert_foreign  # noqa: E402
from flsl_mm.checkpoint.loading import open_checkpoint, take_network  # noqa: E402
from flsl_mm.models import FLSLVisionTransformer, build_vit  # noqa: E402
from flsl_mm.models.backbones.timm_vit import TimmViT, build_foreign  # noqa: E402
from flsl_mm.visualization.layer_tokens import layer_tokens, probe_attention  # noqa: E402

WIDTH = 64
GOLDEN = """dinov2_transformers dinov2_registers_transformers dinov2_swiglu_transformers
dinov3_transformers dinov3_gated_transformers vit_transformers dinov2_authors
dinov2_registers_authors dinov3_authors dino_authors_p16 dino_authors_p8 timm_dinov2_reg
timm_dinov3 timm_clip timm_siglip timm_deit3""".split()
# Small networks of timm's kinds: what file tests start from.
KINDS = dict(
    dinov3='vit_small_patch16_dinov3',
    dinov2_reg='vit_small_patch14_reg4_dinov2',
    dinov2_swiglu='vit_giant_patch14_dinov2',
    deit3='deit3_small_patch16_224',
    clip='vit_base_patch16_clip_quickgelu_224',
    siglip='vit_base_patch16_siglip_224',
    augreg='vit_small_patch16_224',
)


def small(kind: str, **kwargs) -> torch.nn.Module:
    """timm's model of a kind, 64 wide and 2 blocks deep, with lively random weights."""
    import timm

    name = KINDS[kind]
    patch = 14 if 'patch14' in name else 16
    options = dict(
        num_classes=0,
        embed_dim=WIDTH,
        depth=2,
        num_heads=2,
        img_size=4 * patch,
        dynamic_img_size=True,
    )
    if kind == 'dinov2_swiglu':
        options['mlp_ratio'] = 4
    if kind != 'siglip':
        options['global_pool'] = 'token'
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(name, **options, **kwargs).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def network():
    """A small DINOv3 network."""
    return build_vit(small('dinov3').state_dict(), num_heads=2)


@pytest.mark.parametrize('name', GOLDEN)
def test_tokens_are_those_of_the_authors_code(golden_dir, name):
    folder = golden_dir / 'foundation'
    info = json.loads((folder / 'foundation.json').read_text())[name]
    vit = build_vit(str(folder / f'{name}.pth'), num_heads=info['num_heads'])
    with np.load(folder / f'{name}.npz') as file:
        images, tokens, prefix = (torch.from_numpy(file[k]) for k in ('input', 'tokens', 'prefix'))
    found = vit.forward_features(images.float())
    for value, expected in zip(found, (tokens, prefix)):
        torch.testing.assert_close(value.double(), expected, atol=2e-5, rtol=2e-5)
    assert torch.equal(vit.forward_tokens([images.float()])[0], found[0])
    expected = info['patch_size'], info['prefix'], info['num_heads']
    assert (vit.patch_size, vit.num_prefix_tokens, vit.num_heads) == expected
    assert vit.embed_dims == tokens.shape[-1] and not vit.training


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('size', [(4, 4), (3, 6)])
def test_files_of_timm_run_as_timm_runs_them(kind, size):
    model = small(kind)
    vit = build_vit(model.state_dict(), num_heads=2)
    images = torch.randn(2, 3, *(n * vit.patch_size for n in size))
    expected = model.forward_features(images)
    tokens, prefix = vit.forward_features(images)
    torch.testing.assert_close(torch.cat([prefix, tokens], dim=1), expected, atol=1e-4, rtol=1e-4)
    assert isinstance(vit, TimmViT)


@pytest.mark.parametrize('kind, mean', [('clip', 122.77), ('siglip', 127.5), ('deit3', 123.675)])
def test_pixels_are_normalized_as_the_network_was_trained(kind, mean):
    vit = build_vit(small(kind).state_dict(), num_heads=2)
    assert vit.mean[0] == pytest.approx(mean, abs=0.01)
    pixels = torch.full((1, 3, 2, 2), 255)
    assert vit.normalize(pixels)[0, 0, 0, 0] == pytest.approx((255 - mean) / vit.std[0], abs=1e-3)


def test_what_is_left_out_is_reported_by_name():
    state = small('siglip').state_dict()
    found = open_checkpoint(dict(state, **{'head.weight': torch.zeros(5, WIDTH)}), trust=False)
    entries, report = take_network(found, 'backbone')
    build_foreign(convert_foreign(found, entries, report), 2, report, random=False)
    heads = {name for name in state if name.startswith('attn_pool.')} | {'head.weight'}
    assert len(heads) > 5 and set(report.ignored) == heads
    assert set(report.used) == set(state) - heads


def remove(name):
    return lambda state: state.pop(name)


def replace(name, shape):
    return lambda state: state.update({name: torch.zeros(shape)})


@pytest.mark.parametrize(
    'kind, change, message',
    [
        ('dinov3', remove('norm.weight'), 'lacks 1 backbone parameters: norm.weight'),
        ('dinov3', remove('blocks.1.gamma_2'), 'lacks 1 backbone parameters: blocks.1.gamma_2'),
        ('dinov3', remove('blocks.0.mlp.fc1.weight'), 'lacks a backbone parameter: blocks.0.mlp'),
        ('dinov3', replace('blocks.1.attn.extra', 3), 'has blocks.1.attn.extra, which a DINOv3'),
        ('dinov3', replace('cls_norm.weight', 3), 'has cls_norm.weight, which a DINOv3'),
        ('dinov3', replace('blocks.1.norm1.weight', 3), r'norm1.weight makes .* \(3,\), expected'),
        ('dinov3', replace('rope_embed.periods', 3), '3 rotary periods do not fit 2'),
        ('deit3', replace('pos_embed', (1, 15, WIDTH)), '15 rows: no square patch grid'),
        ('deit3', replace('pos_embed', (16, WIDTH)), 'position table and prefix tokens need 3'),
        ('deit3', replace('cls_token', (1, 1, 3)), 'prefix tokens differ in width'),
        ('deit3', replace('patch_embed.proj.weight', (WIDTH, 1, 8, 8)), 'not of RGB squares'),
        ('deit3', replace('blocks.0.mlp.fc2.weight', (WIDTH, 5)), 'neither plain nor gated'),
    ],
)
def test_a_wrong_file_is_one_line(kind, change, message):
    state = dict(small(kind).state_dict())
    change(state)
    with pytest.raises(CheckpointError, match=f'^state dict: .*{message}') as error:
        build_vit(state, num_heads=2)
    assert '\n' not in str(error.value)


def test_weights_that_are_not_finite_are_refused():
    state = dict(small('deit3').state_dict())
    state['blocks.1.ls1.gamma'] = torch.full((WIDTH,), float('nan'))
    with pytest.raises(CheckpointError, match='blocks.1.ls1.gamma has NaN'):
        build_vit(state, num_heads=2)


def test_networks_of_this_project_stay_ours():
    """Converted for timm they have the names that SigLIP has: the fixed table tells."""
    from flsl_mm.checkpoint.layouts import to_timm_name

    arch = dict(embed_dims=WIDTH, num_layers=2, num_heads=2, feedforward_channels=96)
    vit = FLSLVisionTransformer(arch, img_size=64, patch_size=16)
    converted = {to_timm_name(name): value for name, value in vit.state_dict().items()}
    assert isinstance(build_vit(converted, num_heads=2), FLSLVisionTransformer)


def test_random_weights_of_a_network_of_timm_depend_on_the_seed_alone():
    source = 'random:timm/vit_tiny_patch16_224'
    state = torch.get_rng_state()
    first, again, other = build_vit(source), build_vit(source), build_vit(source, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    image = torch.randn(1, 3, 32, 48)
    tokens = [vit.forward_tokens([image])[0] for vit in (first, again, other)]
    assert torch.equal(tokens[0], tokens[1]) and not torch.allclose(tokens[0], tokens[2])
    assert (first.embed_dims, first.patch_size, first.mean[0]) == (192, 16, 127.5)


def test_random_weights_in_the_design_of_a_foreign_file(network, tmp_path):
    path = tmp_path / 'dinov3.pth'
    torch.save(small('dinov3').state_dict(), path)
    vit = build_vit(f'random:{path}', num_heads=2)
    weights, trained = vit.state_dict(), network.state_dict()
    assert weights.keys() == trained.keys()
    assert not torch.equal(weights['model.cls_token'], trained['model.cls_token'])


@pytest.mark.parametrize(
    'source, message',
    [
        ('random:timm/no_such_vit', 'random:timm/no_such_vit: timm cannot make it'),
        ('timm:no_such_vit', 'timm:no_such_vit: timm cannot make it'),
        ('random:timm/resnet10t', 'random:timm/resnet10t: timm cannot make it'),
        ('random:timm/deit_tiny_distilled_patch16_224', 'VisionTransformerDistilled is not of'),
    ],
)
def test_names_that_timm_has_no_vit_for_are_one_line(source, message):
    with pytest.raises(CheckpointError, match=message) as error:
        build_vit(source)
    assert '\n' not in str(error.value)


def test_without_timm_the_package_is_named(monkeypatch):
    state = small('dinov3').state_dict()
    monkeypatch.setitem(sys.modules, 'timm.models', None)
    with pytest.raises(CheckpointError, match='needs the package timm'):
        build_vit(state, num_heads=2)


@pytest.mark.parametrize('kind', KINDS)
def test_probed_attention_is_that_of_the_block(kind):
    """With LayerNorms' and projections' own numbers, compared with the block's attention module."""
    vit = build_vit(small(kind).state_dict(), num_heads=2)
    images = torch.randn(1, 3, 3 * vit.patch_size, 4 * vit.patch_size)
    count = vit.num_prefix_tokens + 12
    x, blocks = vit.blocks_for(images)
    block, queries_and_keys = next(iter(blocks))
    [[[rows]]] = [vit.block_attention(images, range(count), [1])]  # (heads, Q, P + N)
    attn = block.func.attn
    attn.fused_attn = False
    seen = []
    attn.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(x)
    torch.testing.assert_close(rows, seen[0][0], atol=1e-5, rtol=1e-4)


def test_pictures_show_patches_only_and_what_prefix_tokens_attend_to(network):
    image = np.random.default_rng(0).integers(0, 256, (33, 64, 3), dtype=np.uint8)  # padded
    [tokens] = layer_tokens(network, image, [2])
    pixels = network.normalize(torch.tensor(image).permute(2, 0, 1)[None])
    torch.testing.assert_close(tokens, network.forward_tokens([pixels])[0][0])
    assert len(tokens) == 3 * 4
    [[patch, from_class]] = probe_attention(network, image, [0, -network.num_prefix_tokens], [2])
    assert 0 < patch.sum() < 1 and 0 < from_class.sum() < 1
    [[[both]]] = [network.block_attention(pixels, [0], [2])]
    torch.testing.assert_close(from_class, both.mean(dim=0)[0, network.num_prefix_tokens :])

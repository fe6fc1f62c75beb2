"""Other projects' networks as trunks of the downstream backbones."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

timm = pytest.importorskip('timm')

from flsl_mm.checkpoint import CheckpointError, load_pretrained  # noqa: E402
from flsl_mm.engine import LayerDecayConstructor  # noqa: E402
from flsl_mm.models import ViTDet, ViTFPN, ViTMap, build_vit  # noqa: E402
from flsl_mm.models.backbones.timm_windows import Windows, windowed_block  # noqa: E402
from flsl_mm.utils.errors import ConfigError  # noqa: E402

DINOV3 = dict(name='vit_small_patch16_dinov3_qkvb', family='DINOv3')
DINOV2_REG = dict(name='vit_small_patch14_reg4_dinov2', family='DINOv2 with registers')
DINOV3_GATED = 'vit_huge_plus_patch16_dinov3_qkvb'
SMALL = dict(embed_dims=48, depth=4, num_heads=3)
FPN = dict(out_indices=(0, 1, 2, 3))
DET = dict(global_indices=(1, 3), out_channels=8, pretrain_img_size=64)
# Of every published layout: timm's name, and the family.
GOLDEN = dict(
    dinov3_authors=DINOV3,
    dinov3_transformers=DINOV3,
    timm_dinov3=DINOV3,
    dinov3_gated_transformers=dict(DINOV3, name=DINOV3_GATED, swiglu_align_to=0),
    dinov2_registers_authors=DINOV2_REG,
    dinov2_registers_transformers=dict(DINOV2_REG, family='DINOv2 with registers of transformers'),
    timm_dinov2_reg=DINOV2_REG,
    dinov2_authors=dict(name='vit_small_patch14_dinov2', family='DINOv2'),
    dinov2_transformers=dict(name='vit_small_patch14_dinov2', family='DINOv2 of transformers'),
    dinov2_swiglu_transformers=dict(
        name='vit_giant_patch14_dinov2', family='DINOv2 of transformers'
    ),
    vit_transformers=dict(name='vit_small_patch16_224', family='ViT of transformers'),
    dino_authors_p16=dict(name='vit_small_patch16_224', family='DINO of another width'),
    dino_authors_p8=dict(name='vit_small_patch8_224', family='DINO of another width'),
    timm_clip=dict(name='vit_base_patch16_clip_quickgelu_224', family='CLIP of timm'),
    timm_siglip=dict(name='vit_base_patch16_siglip_224', family='SigLIP of timm'),
    timm_deit3=dict(name='deit3_small_patch16_224', family='ViT of timm'),
)


def lively(net: nn.Module) -> nn.Module:
    """The network with random weights of which each matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.2)
    return net.eval()


def fpn(trunk: dict = DINOV3, **kwargs) -> ViTFPN:
    return lively(ViTFPN(**{**SMALL, **FPN, 'img_size': 64, 'trunk': trunk, **kwargs}))


def det(trunk: dict = DINOV3, **kwargs) -> ViTDet:
    return lively(ViTDet(**{**SMALL, **DET, 'trunk': trunk, **kwargs}))


def like(vit: nn.Module, trunk: dict) -> dict:
    """Settings of a backbone for the weights of a frozen network."""
    mlp, model = vit.model.blocks[0].mlp, vit.model
    gated = trunk['name'] == DINOV3_GATED  # whose ratio is of half of the packed width
    hidden = mlp.fc2.in_features if gated else mlp.fc1.out_features
    return dict(
        embed_dims=vit.embed_dims,
        depth=vit.depth,
        num_heads=vit.num_heads,
        patch_size=vit.patch_size,
        img_size=model.patch_embed.grid_size[0] * vit.patch_size,
        trunk=dict(trunk, mlp_ratio=(hidden + 0.5) / vit.embed_dims),
    )


@pytest.mark.parametrize('name', GOLDEN)
def test_the_map_is_of_the_authors_tokens(golden_dir, name):
    folder = golden_dir / 'foundation'
    path = str(folder / f'{name}.pth')
    heads = json.loads((folder / 'foundation.json').read_text())[name]['num_heads']
    net = ViTMap(**like(build_vit(path, num_heads=heads), GOLDEN[name])).eval()
    report = load_pretrained(net, path)
    with np.load(folder / f'{name}.npz') as file:
        images, tokens = (torch.from_numpy(file[key]) for key in ('input', 'tokens'))
    [found] = net(images.float())
    assert found.shape[2:] == net.grid_of(images)
    found = found.flatten(2).transpose(1, 2)
    torch.testing.assert_close(found.double(), tokens, atol=2e-5, rtol=2e-5)
    assert report.used and not report.resized


@pytest.mark.parametrize('trunk', [DINOV3, DINOV2_REG], ids=['dinov3', 'dinov2'])
def test_every_level_is_of_tokens_after_the_final_norm(trunk):
    net, images = fpn(trunk), torch.randn(2, 3, 80, 64)
    x, blocks = net.trunk.blocks_for(images)
    levels = (net.fpn1, net.fpn2, net.fpn3, net.fpn4)
    for level, (block, _), found in zip(levels, blocks, net(images)):
        x = block(x)
        tokens = net.trunk.final(x)[:, net.num_prefix_tokens :]
        expected = level(tokens.transpose(1, 2).unflatten(2, (5, 4)))
        torch.testing.assert_close(found, expected[..., : found.shape[-2], : found.shape[-1]])
    torch.testing.assert_close(tokens, net.forward_tokens([images])[0])


def test_the_last_map_of_vitdet_is_of_the_same_tokens():
    net, images = det(), torch.randn(1, 3, 64, 96)
    [last] = net.maps_after(images, [3])
    tokens = net.trunk.forward_features(images)[0]
    torch.testing.assert_close(last.flatten(2).transpose(1, 2), tokens)
    assert net.trunk.windows == {}
    assert [tuple(m.shape[1:]) for m in net(images)] == [
        (8, 16, 24), (8, 8, 12), (8, 4, 6), (8, 2, 3), (8, 1, 2)
    ]  # fmt: skip


@pytest.mark.parametrize('trunk', [DINOV3, DINOV2_REG], ids=['dinov3', 'dinov2'])
@pytest.mark.parametrize('size', [6, 9])
def test_one_window_over_the_grid_is_global_attention(trunk, size):
    net = fpn(trunk).trunk
    x, blocks = net.blocks_for(torch.randn(2, 3, 96, 96 if size == 6 else 64))
    grid = (6, 6 if size == 6 else 4)
    block = next(iter(blocks))[0]
    rope = dict(rope=net.model.rope.get_embed(shape=grid)) if hasattr(net.model, 'rope') else {}
    windows = Windows(grid, size, net.num_prefix_tokens, x.device, **rope)
    torch.testing.assert_close(windowed_block(block.func, windows, x), block(x))


def test_a_window_attends_to_itself_and_the_prefix_tokens_where_it_lies_in_the_grid():
    net = fpn().trunk.double()  # single precision rounds by more than is allowed below
    x, blocks = net.blocks_for(
        torch.randn(1, 3, 64, 80, dtype=torch.float64)
    )  # windows of 3: 3 + 1 by 3 + 2 tokens
    attention, p = next(iter(blocks))[0].func.attn, net.num_prefix_tokens
    rope = net.model.rope.get_embed(shape=(4, 5)).double()
    found = Windows((4, 5), 3, p, x.device, rope).attend(attention, x)
    index = torch.arange(20).view(4, 5)
    prefix = []
    for rows in (slice(3), slice(3, None)):
        for columns in (slice(3), slice(3, None)):
            inside = index[rows, columns].flatten()
            kept = torch.cat([torch.arange(p), p + inside])
            alone = attention(x[:, kept], rope=rope[inside])
            torch.testing.assert_close(found[:, p + inside], alone[:, p:])
            prefix.append(alone[:, :p])
    torch.testing.assert_close(found[:, :p], torch.stack(prefix).mean(dim=0))


def test_windows_are_where_they_are_asked_for():
    whole, cut = det(), det(window_size=2)
    images = torch.randn(1, 3, 64, 64)
    assert cut.trunk.windows == {0: 2, 2: 2}
    assert not torch.allclose(whole(images)[2], cut(images)[2])
    torch.testing.assert_close(whole(images)[2], det(window_size=4)(images)[2])


def test_files_of_other_patches_and_grids_are_resized():
    source = timm.create_model(
        DINOV2_REG['name'], embed_dim=48, depth=4, num_heads=3, img_size=84, num_classes=0
    )
    state = lively(source).state_dict()
    net = fpn(DINOV2_REG, img_size=96)  # 6 x 6 patches of 16
    report = load_pretrained(net, state)
    assert set(report.resized) == {'patch_embed.proj.weight'}
    assert net.trunk.model.pos_embed.equal(state['pos_embed'])
    assert set(load_pretrained(fpn(DINOV2_REG), state).resized) == {
        'patch_embed.proj.weight',
        'pos_embed',
    }
    # A smooth image has the same patches at both sizes.
    ramp = torch.linspace(-1, 1, 14).expand(1, 3, 14, 14)
    larger = nn.functional.interpolate(ramp, size=(16, 16), mode='bicubic', antialias=True)
    token = source.patch_embed.proj(ramp)
    torch.testing.assert_close(
        net.trunk.model.patch_embed.proj(larger), token, atol=1e-4, rtol=1e-4
    )


def test_a_file_without_biases_has_biases_of_zero_and_periods_are_kept():
    source = timm.create_model(
        'vit_small_patch16_dinov3', embed_dim=48, depth=4, num_heads=3, num_classes=0
    )
    state = {**lively(source).state_dict(), 'rope_embed.periods': torch.rand(4) + 1}
    net = fpn()
    report = load_pretrained(net, state)
    assert len(report.new) == 8 and not net.trunk.model.blocks[3].attn.q_bias.any()
    again = fpn()
    again.load_state_dict(net.state_dict())
    assert again.trunk.model.rope.periods.equal(state['rope_embed.periods'])
    images = torch.randn(1, 3, 64, 64)
    assert again(images)[0].equal(net(images)[0])


@pytest.mark.parametrize(
    'trunk, change, message',
    [
        (DINOV3, lambda s: s.pop('norm.weight'), 'lacks 1 backbone parameters: norm.weight'),
        (DINOV3, lambda s: s.update({'blocks.4.x': torch.zeros(3)}), 'has blocks.4.x, which'),
        (DINOV3, lambda s: s.update(cls_token=torch.zeros(1, 1, 9)), r'\(1, 1, 9\), expected'),
        (dict(DINOV3, family='DINO'), lambda s: None, r"trunk=dict\(family='DINOv3'"),
        (DINOV2_REG, lambda s: None, r"trunk=dict\(family='DINOv3'"),
    ],
)
def test_a_wrong_file_is_one_line_and_changes_nothing(trunk, change, message):
    state, net = dict(fpn().trunk.model.state_dict()), fpn(trunk)
    state.pop('rope.periods')
    change(state)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(CheckpointError, match=message) as error:
        load_pretrained(net, state)
    assert '\n' not in str(error.value)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_recorded_heads_are_compared():
    source = timm.create_model(DINOV2_REG['name'], embed_dim=48, depth=4, num_heads=3, img_size=56)
    state = dict(state_dict=source.state_dict(), meta=dict(num_heads=6))
    with pytest.raises(CheckpointError, match='trained with 6 attention heads, the backbone has 3'):
        load_pretrained(fpn(DINOV2_REG), state)


@pytest.mark.parametrize(
    'trunk, message',
    [
        (dict(name='resnet10t', family='DINO'), 'trunk resnet10t: timm cannot make it'),
        (dict(name='no_such', family='DINO'), 'trunk no_such: timm cannot make it'),
        (dict(DINOV3, family='DINOv4'), "no family 'DINOv4'; known: DINOv3, "),
        (dict(name='vit_tiny_patch16_224'), r'trunk=dict\(name=..., family=...\) needs both'),
        (dict(DINOV3, colour=3), 'timm cannot make it .*colour'),
        (dict(name='vit_small_patch16_rope_mixed_224', family='ViT'), 'Eva kind'),
    ],
)
def test_a_trunk_that_does_not_exist_is_one_line(trunk, message):
    with pytest.raises(ConfigError, match=message) as error:
        fpn(trunk)
    assert '\n' not in str(error.value)


def test_windows_need_blocks_of_the_usual_kind():
    trunk = dict(
        name='vit_small_patch16_224',
        family='ViT',
        block_fn=timm.models.vision_transformer.ResPostBlock,
    )
    with pytest.raises(ConfigError, match='its blocks have no windows'):
        det(trunk, window_size=2)
    with pytest.raises(ConfigError, match='window_size must be positive, got -1'):
        det(window_size=-1)


@pytest.mark.parametrize('make', [fpn, det, lambda **k: det(window_size=3, **k)])
@pytest.mark.parametrize('trunk', [DINOV3, DINOV2_REG], ids=['dinov3', 'dinov2'])
def test_checkpointing_changes_memory_but_not_gradients(
    make, trunk, gradients_with_and_without_checkpointing
):
    plain = make(trunk=trunk, drop_path_rate=0.3).train()
    image = torch.rand(2, 3, 64, 64)
    for name, a, b in gradients_with_and_without_checkpointing(plain, image):
        assert a is not None, name
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
@pytest.mark.parametrize('trunk', [DINOV3, DINOV2_REG], ids=['dinov3', 'dinov2'])
def test_frozen_stages_have_no_gradient_and_stay_in_eval_mode(frozen_stages, trunk):
    net = fpn(trunk, frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    stem = ('cls_token', 'reg_token', 'pos_embed', 'patch_embed.')
    prefixes = [f'blocks.{i}.' for i in range(max(frozen_stages, 0))]
    prefixes += [*stem] if frozen_stages >= 0 else []
    prefixes += ['norm.'] if frozen_stages == 4 else []
    names = {f'trunk.model.{name}' for name, _ in net.trunk.model.named_parameters()}
    frozen = {n for n in names if n.removeprefix('trunk.model.').startswith(tuple(prefixes))}
    assert {n for n, p in net.named_parameters() if not p.requires_grad} == (
        frozen if prefixes else set()
    )
    modes = [block.training for block in net.trunk.model.blocks]
    assert modes == [i >= frozen_stages for i in range(4)]
    sum(level.mean() for level in net(torch.rand(2, 3, 64, 64))).backward()


@pytest.mark.parametrize('make', [fpn, det])
@pytest.mark.parametrize('trunk', [DINOV3, DINOV2_REG], ids=['dinov3', 'dinov2'])
def test_learning_rates_fall_with_depth_and_matrices_alone_decay(make, trunk):
    model = nn.Module()
    model.backbone, model.head = make(trunk=trunk), nn.Linear(8, 3)
    config = dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1))
    wrapper = LayerDecayConstructor(config, dict(decay_rate=0.5))(model)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    assert found.keys() == set(names.values())
    model = 'backbone.trunk.model.'
    expected = {
        'cls_token': (0.5**5, 0.0),
        'reg_token': (0.5**5, 0.0),
        'patch_embed.proj.weight': (0.5**5, 0.1),
        'blocks.0.attn.qkv.weight': (0.5**4, 0.1),
        'blocks.3.norm1.weight': (0.5**1, 0.0),
        'norm.weight': (1.0, 0.0),
    }
    if trunk is DINOV3:
        expected |= {'blocks.2.gamma_1': (0.5**2, 0.0), 'blocks.2.attn.q_bias': (0.5**2, 0.0)}
    else:
        expected |= {'blocks.2.ls1.gamma': (0.5**2, 0.0), 'pos_embed': (0.5**5, 0.0)}
    assert {name: found[model + name] for name in expected} == expected
    pyramid = 'backbone.fpn1.0.weight' if make is fpn else 'backbone.simfp_2.0.weight'
    assert found['head.weight'] == found[pyramid] == (1.0, 0.1)


@pytest.mark.parametrize('kind', ['ViTFPN', 'ViTDet', 'ViTMap'])
def test_a_config_names_architecture_and_file(kind, tmp_path):
    weights = lively(ViTMap(**SMALL, trunk=DINOV3)).trunk.model
    state = {n: p.detach() for n, p in weights.named_parameters()}
    torch.save(state, tmp_path / 'dinov3.pth')
    options = dict(ViTFPN=FPN, ViTDet=DET, ViTMap={})[kind]
    init_cfg = dict(type='PretrainedViT', checkpoint=str(tmp_path / 'dinov3.pth'), key='teacher')
    net = MODELS.build(dict(type=kind, trunk=DINOV3, init_cfg=init_cfg, **SMALL, **options))
    net.init_weights()
    assert all(p.equal(state[n]) for n, p in net.trunk.model.named_parameters())

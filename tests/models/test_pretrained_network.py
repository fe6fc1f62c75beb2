"""Networks of files that go on training."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F

timm = pytest.importorskip('timm')

from flsl_mm.apis.exporting import export_network  # noqa: E402
from flsl_mm.checkpoint import (  # noqa: E402
    CheckpointError,
    convert_checkpoint,
    load_pretrained,
    publish_model,
)
from flsl_mm.engine.optimizers import LayerDecayConstructor  # noqa: E402
from flsl_mm.models import (  # noqa: E402
    FLSL,
    FLSLVisionTransformer,
    PretrainedNetwork,
    ViTDet,
    ViTFPN,
    build_vit,
)
from flsl_mm.models.layers.positions import rotary_in_windows  # noqa: E402
from flsl_mm.models.necks.mean_shift_neck import SOLVED_BATCHES  # noqa: E402
from flsl_mm.utils.errors import ConfigError  # noqa: E402

SMALL = dict(embed_dim=48, depth=3, num_heads=3, num_classes=0)
NAMES = dict(
    dinov3='vit_small_patch16_dinov3',
    dinov2_reg='vit_small_patch14_reg4_dinov2',
    siglip='vit_base_patch16_siglip_224',
)
FAMILIES = dict(dinov3='DINOv3', dinov2_reg='ViT of timm', siglip='SigLIP of timm')
GOLDEN = """dinov2_transformers dinov2_registers_transformers dinov2_swiglu_transformers
dinov3_transformers dinov3_gated_transformers vit_transformers dinov2_authors
dinov2_registers_authors dinov3_authors dino_authors_p16 dino_authors_p8 timm_dinov2_reg
timm_dinov3 timm_clip timm_siglip timm_deit3""".split()
HEAD = dict(type='FLSLHead', num_prototypes=16, hidden_channels=32, bottleneck_channels=8)


@pytest.fixture
def write(tmp_path):
    """Writes a small network of a kind, and gives the path."""

    def write_network(kind: str) -> str:
        path = str(tmp_path / f'{kind}.pth')
        torch.manual_seed(0)
        if kind == 'ours':
            arch = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=96)
            torch.save(dict(state_dict=FLSLVisionTransformer(arch, 64, 16).state_dict()), path)
            return path
        side = 4 * (14 if kind == 'dinov2_reg' else 16)
        model = timm.create_model(NAMES[kind], **SMALL, img_size=side)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        state = dict(model.state_dict())
        if kind == 'dinov3':  # authors' files have them rounded
            state['rope_embed.periods'] = model.rope.periods.bfloat16().float()
        torch.save(state, path)
        return path

    return write_network


def network(path: str, **options):
    init_cfg = dict(type='PretrainedViT', checkpoint=path)
    return PretrainedNetwork(init_cfg, num_heads=3, **options)


def method(path: str, data_preprocessor=None, **options) -> FLSL:
    init_cfg = dict(type='PretrainedViT', checkpoint=path)
    model = FLSL(
        backbone=dict(type='PretrainedNetwork', init_cfg=init_cfg, num_heads=3, **options),
        neck=dict(type='MeanShiftNeck', self_scale='auto', parted=True),
        head=HEAD,
        data_preprocessor=data_preprocessor,
    )
    model.init_weights()
    return model


def views(patch: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, n * patch, n * patch, generator=generator) for n in (4, 4, 2)]


def training_file(model: FLSL, path, **meta) -> str:
    """A checkpoint as training writes it."""
    meta = {**model.backbone.facts, **meta}
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


@pytest.mark.parametrize('kind', [*NAMES, 'ours'])
def test_student_and_teacher_start_from_the_weights_of_the_file(write, kind):
    path = write(kind)
    expected, model = build_vit(path, num_heads=3), method(path)
    images = torch.randn(1, 3, 64, 80)
    for found in (model.backbone, model.teacher.backbone):
        assert found.forward_tokens([images])[0].equal(expected.forward_tokens([images])[0])
    assert model.backbone.training and not model.teacher.backbone.training
    assert not any(p.requires_grad for p in model.teacher.parameters())


@pytest.mark.parametrize('kind', [*NAMES, 'ours'])
def test_every_trained_parameter_gets_a_gradient(write, kind):
    """Distributed training waits for one that gets none."""
    model = method(write(kind))
    losses = model(views(model.backbone.patch_size), mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking
    if kind == 'dinov3':  # registers and the class token see the patches, and are seen
        assert model.backbone.model.reg_token.grad.any()


@pytest.mark.parametrize('kind', ['dinov3', 'dinov2_reg', 'ours'])
def test_nothing_is_kept_for_a_backward_pass_of_frozen_blocks(write, kind):
    vit = network(write(kind), trained_blocks=1)
    trained = {n for n, p in vit.named_parameters() if p.requires_grad}
    last = 'layers.2.' if kind == 'ours' else 'model.blocks.2.'
    assert trained and all(n.startswith((last, 'model.norm.', 'ln1.')) for n in trained)
    x, blocks = vit.blocks_for(torch.randn(1, 3, 64, 64))
    with_graph = []
    for block, _ in blocks:
        x = block(x)
        with_graph.append(x.requires_grad)
    assert with_graph == [False, False, True]


@pytest.mark.parametrize('kind', ['dinov3', 'ours'])
def test_learning_rates_fall_with_depth(write, kind):
    model = method(write(kind))
    config = dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1))
    groups = LayerDecayConstructor(config, dict(decay_rate=0.5))(model).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(p)]: group['lr'] for group in groups for p in group['params']}
    assert set(rates) == {n for n, p in model.named_parameters() if p.requires_grad}
    block = 'backbone.layers.{}.ln1.weight' if kind == 'ours' else (
        'backbone.model.blocks.{}.norm1.weight'
    )  # fmt: skip
    assert [rates[block.format(i)] for i in range(3)] == [0.125, 0.25, 0.5]
    assert rates['head.prototypes.weight'] == 1.0


@pytest.mark.parametrize('kind, mean', [('siglip', 127.5), ('dinov3', 123.675)])
def test_views_are_normalized_as_the_network_expects(write, kind, mean):
    for given, expected in ((dict(), mean), (dict(mean=(1, 2, 3)), 1.0)):
        data = dict(type='MultiViewPreprocessor', **given)
        shift = method(write(kind), data).data_preprocessor
        found = -shift.shift.flatten()[0] / shift.gain.flatten()[0] * 255
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('name', ['dinov3', 'dinov2_reg'])
def test_what_was_trained_is_read_published_exported_and_fine_tuned(write, name, tmp_path):
    model = method(write(name))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01
    teacher = copy.deepcopy(model.teacher.backbone)
    path = training_file(model, tmp_path / 'epoch_1.pth')
    images = torch.randn(1, 3, 70, 80)
    expected = teacher.forward_features(images)

    published, _ = publish_model(path, tmp_path / 'published.pth')
    for source in (path, str(published)):
        found = build_vit(source)
        assert (found.family, found.num_heads) == (FAMILIES[name], 3)
        for value, wanted in zip(found.forward_features(images), expected):
            assert value.equal(wanted)
    assert json.loads(published.with_suffix('.json').read_text())['family'] == FAMILIES[name]
    student = build_vit(path, key='student').forward_tokens([images])[0]
    assert student.equal(model.backbone.eval().forward_tokens([images])[0])

    export_network(path, tmp_path / 'folder', 'timm')  # which compares tokens with timm's own
    trunk = dict(name=NAMES[name], family=FAMILIES[name])
    sizes = dict(embed_dims=48, depth=3, num_heads=3, img_size=64, out_indices=(0, 1, 2, 2))
    detector = ViTFPN(**sizes, trunk=trunk)
    report = load_pretrained(detector, path)
    assert (report.network, report.num_heads) == ('teacher', 3)
    weight = 'model.blocks.2.attn.proj.weight'
    assert detector.trunk.state_dict()[weight].equal(teacher.state_dict()[weight])


def test_a_network_that_timm_knows_by_name_goes_on_training_too(tmp_path):
    model = method('random:timm/test_vit')
    path = training_file(model, tmp_path / 'epoch_1.pth')
    found, images = build_vit(path), torch.randn(1, 3, 32, 48)
    assert found.family == 'timm:test_vit'
    assert found.forward_tokens([images])[0].equal(model.backbone.forward_tokens([images])[0])
    export_network(path, tmp_path / 'folder', 'timm')
    config = json.loads((tmp_path / 'folder/config.json').read_text())
    assert config['architecture'] == 'test_vit'
    assert model.backbone.is_unused('model.attn_pool.latent')  # which other networks of timm have


def test_the_trunk_of_a_trained_detector_is_read_as_a_frozen_network(tmp_path):
    trunk = dict(name=NAMES['dinov3'], family='DINOv3')
    sizes = dict(embed_dims=48, depth=3, num_heads=3, img_size=64)
    detector = ViTFPN(**sizes, trunk=trunk, out_indices=(0, 1, 2, 2)).eval()
    state = {f'backbone.{name}': value for name, value in detector.state_dict().items()}
    state['rpn_head.rpn_conv.weight'] = torch.zeros(3)
    text = f"model = dict(backbone=dict(type='ViTFPN', num_heads=3, trunk={trunk}))"
    images = torch.randn(1, 3, 48, 64)
    for meta in (detector.facts, dict(cfg=text)):
        torch.save(dict(meta=meta, state_dict=state), tmp_path / 'detector.pth')
        found = build_vit(str(tmp_path / 'detector.pth'))
        assert found.forward_tokens([images])[0].equal(detector.forward_tokens([images])[0])


def test_a_detector_with_windows_is_no_frozen_network(tmp_path):
    trunk = dict(name=NAMES['dinov3'], family='DINOv3')
    sizes = dict(embed_dims=48, depth=3, num_heads=3, img_size=64, pretrain_img_size=64)
    detector = ViTDet(**sizes, trunk=trunk, window_size=2, global_indices=(2,))
    state = {f'backbone.{name}': value for name, value in detector.state_dict().items()}
    text = "model = dict(backbone=dict(type='ViTDet', window_size=2, trunk=dict(name='x')))"
    meta = dict(detector.facts, cfg=text)
    torch.save(dict(meta=meta, state_dict=state), tmp_path / 'detector.pth')
    with pytest.raises(CheckpointError, match='attend in windows of 2 tokens: only a detector'):
        build_vit(str(tmp_path / 'detector.pth'))


@pytest.mark.parametrize(
    'meta, message',
    [
        (dict(family=None), 'does not record of which family its network is'),
        (dict(family='DINOv9'), "a network of the family 'DINOv9', which is not known"),
        (
            dict(family='timm:vit_tiny_patch16_224'),
            'holds other tensors than timm:vit_tiny',
        ),
        (dict(family='timm:no_such'), 'timm cannot make it'),
        (dict(num_heads=6), 'rotary periods do not fit 6'),
    ],
)
def test_a_file_that_does_not_say_what_it_is_is_one_line(write, tmp_path, meta, message):
    path = training_file(method(write('dinov3')), tmp_path / 'epoch_1.pth', **meta)
    with pytest.raises(CheckpointError, match=message) as error:
        build_vit(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('to', ['timm', 'mmpretrain'])
def test_a_file_of_a_plain_vit_cannot_hold_it(write, tmp_path, to):
    path = training_file(method(write('dinov3')), tmp_path / 'epoch_1.pth')
    with pytest.raises(CheckpointError, match='holds a DINOv3 network, .*--to timm with a folder'):
        convert_checkpoint(path, tmp_path / 'out.pth', to)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(checkpoint=None), 'needs a network to go on from: .*pretrained=FILE'),
        (dict(checkpoint='no/such.pth'), 'no/such.pth: no such file'),
        (dict(trained_blocks=0), r'trained_blocks=0 is outside \[1, 3\]'),
        (dict(trained_blocks=4), r'trained_blocks=4 is outside \[1, 3\]'),
    ],
)
def test_a_wrong_setting_is_one_line(write, options, message):
    options = dict(options)
    path = options.pop('checkpoint', write('dinov3'))
    with pytest.raises((ConfigError, CheckpointError), match=message):
        network(path, **options)


def test_a_name_of_timm_is_pretrained_weights_too(monkeypatch):
    """timm downloads them; here it is made to give others."""
    model = timm.create_model(NAMES['dinov3'], **SMALL)
    monkeypatch.setattr('flsl_mm.checkpoint.loading.create_model', lambda *_, **__: model)
    trunk = dict(name=NAMES['dinov3'], family='DINOv3')
    sizes = dict(embed_dims=48, depth=3, num_heads=3, img_size=64, out_indices=(0, 1, 2, 2))
    detector = ViTFPN(**sizes, trunk=trunk)
    report = load_pretrained(detector, 'timm:any')
    assert report.source == 'timm:any'
    assert detector.trunk.model.norm.weight.equal(model.norm.weight)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match='^timm:no_such: timm cannot make it'):
        load_pretrained(detector, 'timm:no_such')


@pytest.mark.parametrize('name', GOLDEN)
def test_the_scale_finds_itself_for_any_network(golden_dir, name):
    """The mean over the batches that it was found on; new ones differ as far as batches do."""
    folder = golden_dir / 'foundation'
    patch = json.loads((folder / 'foundation.json').read_text())[name]['patch_size']
    model = method(str(folder / f'{name}.pth')).train()
    torch.manual_seed(0)
    batches = []
    for _ in range(SOLVED_BATCHES):
        large = F.interpolate(torch.randn(4, 3, 5, 5), size=(10 * patch,) * 2, mode='bicubic')
        large += 0.3 * torch.randn(large.shape)
        batches.append([large, large[..., patch : 9 * patch, patch : 9 * patch]])
    with torch.no_grad():
        for batch in batches:
            model(batch, mode='loss')
        found = [model(batch, mode='loss')['attended_tokens'] for batch in batches]
    assert torch.stack(found).mean() == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize('kind', [*NAMES, 'ours'])
def test_the_window_of_all_positions_changes_nothing(write, kind):
    vit = network(write(kind), position_window=(0.25, 1.0)).eval()
    images = torch.randn(2, 3, *vit.img_size) if kind != 'ours' else torch.randn(2, 3, 64, 64)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)
    [expected], [found] = (vit.forward_tokens([images], windows=w) for w in (None, [whole]))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', [*NAMES, 'ours'])
def test_each_image_reads_positions_in_a_window_of_its_own(write, kind):
    vit = network(write(kind)).eval()
    images = torch.randn(1, 3, 4 * vit.patch_size, 4 * vit.patch_size).expand(2, -1, -1, -1)
    windows = torch.tensor([[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]])
    [tokens] = vit.forward_tokens([images], windows=[windows])
    for i in range(2):
        [alone] = vit.forward_tokens([images[i : i + 1]], windows=[windows[i : i + 1]])
        torch.testing.assert_close(tokens[i : i + 1], alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-3)


def test_a_window_of_rotary_positions_is_a_part_of_those_of_a_larger_image(write):
    rope = network(write('dinov3')).model.rope
    whole = rope.get_embed(shape=[8, 12]).unflatten(0, (8, 12))
    windows = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 1.0, 0.75]])
    found = rotary_in_windows(rope.periods, (4, 6), windows).unflatten(2, (4, 6))[:, 0]
    torch.testing.assert_close(found[0], whole[:4, :6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], whole[2:6, 6:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('kind', ['dinov3', 'dinov2_reg', 'ours'])
def test_windows_are_drawn_in_training_alone(write, kind):
    path = write(kind)
    inputs = views(network(path).patch_size)
    model = method(path, position_window=(0.25, 0.5))

    def encoded(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model.encode(inputs)[1][0]

    assert encoded(0).equal(encoded(0)) and not encoded(0).equal(encoded(1))
    model.eval()
    assert encoded(0).equal(encoded(1))


def test_rotary_positions_of_another_kind_have_no_windows():
    source = dict(type='PretrainedViT', checkpoint='random:timm/eva02_tiny_patch14_224')
    with pytest.raises(ConfigError, match='a RotaryEmbeddingCat has no windows'):
        PretrainedNetwork(source, position_window=(0.25, 1.0))


def test_a_network_without_positions_has_no_windows():
    vit = build_vit('random:timm/vit_tiny_patch16_224')
    vit.read_in_windows((0.25, 1.0))
    vit.model.pos_embed = None
    vit.read_in_windows(None)
    with pytest.raises(ConfigError, match='a network without positions has no windows'):
        vit.read_in_windows((0.25, 1.0))

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmpretrain.models import VisionTransformer
from safetensors.torch import load_file

from flsl_mm.checkpoint import CheckpointError, convert_checkpoint, load_pretrained, read_checkpoint

TO_FILES = [('mmpretrain', '.pth'), ('mmpretrain', '.safetensors'), ('timm', '.pth')]
TO_FILES += [('timm', '.safetensors')]


@st.composite
def archs(draw):
    heads = draw(st.integers(1, 3))
    return dict(
        num_heads=heads,
        embed_dims=4 * heads * draw(st.integers(1, 3)),
        num_layers=draw(st.integers(1, 12)),
        feedforward_channels=draw(st.integers(1, 9)),
        patch_size=draw(st.sampled_from([2, 4])),
        img_size=4 * draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 99)),
    )


def equal(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


relaxed = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(archs(), st.sampled_from(TO_FILES), st.sampled_from(['half', 'float', 'double']))
def test_a_round_trip_through_any_output_is_bit_exact(build_vit, tmp_path, arch, to, dtype):
    state = getattr(build_vit(**arch), dtype)().state_dict()
    torch.save(state, tmp_path / 'source.pth')
    middle = tmp_path / f'middle{to[1]}'
    convert_checkpoint(tmp_path / 'source.pth', middle, to[0], force=True)
    convert_checkpoint(middle, tmp_path / 'back.pth', 'mmpretrain', force=True)
    equal(read_checkpoint(tmp_path / 'back.pth')['state_dict'], state)


@relaxed
@given(arch=archs())
def test_the_released_layout_and_back_is_bit_exact(arch, build_vit, layouts, tmp_path):
    student = build_vit(**arch).state_dict()
    teacher = build_vit(**arch | dict(seed=100)).state_dict()
    torch.save(layouts['released'][0](student, teacher), tmp_path / 'released.pth')
    convert_checkpoint(tmp_path / 'released.pth', tmp_path / 'ours.pth', 'mmpretrain', force=True)
    model = read_checkpoint(tmp_path / 'ours.pth')['state_dict']
    for prefix, state in (('backbone.', student), ('teacher.backbone.', teacher)):
        equal({n[len(prefix) :]: t for n, t in model.items() if n.startswith(prefix)}, state)


@pytest.mark.parametrize('name', ['released', 'ours'])
def test_without_a_key_the_whole_model_is_kept(name, layouts, build_vit, tmp_path):
    student, teacher = build_vit(seed=1).state_dict(), build_vit(seed=2).state_dict()
    torch.save(layouts[name][0](student, teacher), tmp_path / 'x.pth')
    report = convert_checkpoint(tmp_path / 'x.pth', tmp_path / 'y.pth', 'mmpretrain')
    expected = layouts['ours'][0](student, teacher)['state_dict']
    equal(read_checkpoint(tmp_path / 'y.pth')['state_dict'], expected)
    assert report.network == 'both'
    assert set(report.used.values()) == set(expected)


def test_every_layout_becomes_a_plain_mmpretrain_vit(layout, build_vit, tmp_path):
    source, teacher = build_vit(seed=1), build_vit(seed=2)
    arrange, _, both = layout
    torch.save(arrange(source.state_dict(), teacher.state_dict()), tmp_path / 'x.pth')
    convert_checkpoint(tmp_path / 'x.pth', tmp_path / 'y.pth', 'mmpretrain', key='teacher')
    arch = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=40)
    plain = VisionTransformer(arch, 32, 8, with_cls_token=False, out_type='raw')
    plain.load_state_dict(read_checkpoint(tmp_path / 'y.pth')['state_dict'], strict=True)
    plain.eval()
    images = torch.randn(1, 3, 32, 32)
    expected = (teacher if both else source)(images)[0]
    torch.testing.assert_close(plain(images)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_timm_loads_the_export_strictly_and_gives_the_same_tokens(suffix, build_vit, tmp_path):
    timm = pytest.importorskip('timm')
    small = dict(embed_dims=384, num_layers=12, num_heads=6, feedforward_channels=1536)
    source = build_vit(img_size=224, patch_size=16, **small)
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    path = tmp_path / f'y{suffix}'
    convert_checkpoint(tmp_path / 'x.pth', path, 'timm')
    vit = timm.create_model(
        'vit_small_patch16_224', class_token=False, global_pool='avg', fc_norm=False, num_classes=0
    ).eval()
    state = torch.load(path, weights_only=True) if suffix == '.pth' else load_file(path)
    vit.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(
            vit.forward_features(images), source(images)[0], rtol=1e-5, atol=1e-5
        )


TIMM_MODELS = {
    'class token': {},
    'registers': dict(reg_tokens=4),
    'registers and an averaged head': dict(reg_tokens=4, class_token=False, global_pool='avg'),
    'rows for patches only': dict(no_embed_class=True),
}


@pytest.mark.parametrize('options', TIMM_MODELS.values(), ids=TIMM_MODELS)
def test_models_of_timm_load(options, build_vit):
    timm = pytest.importorskip('timm')
    state = timm.create_model('vit_tiny_patch16_224', **options).state_dict()
    arch = dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768)
    vit = build_vit(img_size=224, patch_size=16, **arch)
    load_pretrained(vit, state)
    rows = state['pos_embed'].shape[1] - 196
    assert torch.equal(vit.pos_embed, state['pos_embed'][:, rows:])
    assert torch.equal(vit.layers[11].ffn.layers[1].bias, state['blocks.11.mlp.fc2.bias'])


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('vit_tiny_patch16_224', dict(init_values=1e-5), 'ls1.gamma, which the backbone has not'),
        ('vit_tiny_patch16_224', dict(qk_norm=True), 'q_norm.weight, which the backbone has not'),
        ('vit_tiny_patch16_224', dict(pre_norm=True), 'lacks 1 backbone param.*projection.bias'),
        ('vit_tiny_patch16_224', dict(qkv_bias=False), 'lacks 12 backbone parameters'),
        ('resnet18', {}, 'no ViT of a known layout'),
    ],
)
def test_other_architectures_of_timm_are_refused(name, options, message, build_vit):
    timm = pytest.importorskip('timm')
    state = timm.create_model(name, **options).state_dict()
    arch = dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(build_vit(img_size=224, patch_size=16, **arch), state)


@pytest.mark.parametrize(('to', 'suffix'), TO_FILES)
def test_heads_and_network_stay_recorded(to, suffix, build_vit, tmp_path):
    vit = build_vit()
    file = dict(meta=dict(num_heads=3, network='teacher'), state_dict=vit.state_dict())
    torch.save(file, tmp_path / 'x.pth')
    convert_checkpoint(tmp_path / 'x.pth', tmp_path / f'y{suffix}', to)
    assert load_pretrained(vit, tmp_path / f'y{suffix}').num_heads == 3
    with pytest.raises(CheckpointError, match='holds the teacher only, not the student'):
        load_pretrained(vit, tmp_path / f'y{suffix}', key='student')
    with pytest.raises(CheckpointError, match='trained with 3 attention heads, the backbone has 6'):
        load_pretrained(build_vit(num_heads=6), tmp_path / f'y{suffix}')


def spoil_gain(file):
    file['student']['module.head.last_layer.weight_g'][2] = 2.0


def drop_head(file):
    del file['teacher']['head.last_layer.weight_v']


def drop_teacher(file):
    del file['teacher']


def spoil_head(file):
    file['teacher']['head.mlp.0.bias'][2] = float('nan')


def add_norm(file):
    file['student']['module.head.mlp.1.running_mean'] = torch.zeros(3)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (spoil_gain, 'student.module.head.last_layer.weight_g is not all ones'),
        (drop_head, 'lacks the head of the teacher; use --key'),
        (drop_teacher, 'holds no teacher; --key student'),
        (spoil_head, 'teacher.head.mlp.0.bias has NaN'),
        (add_norm, 'running_mean has no place in FLSLHead'),
    ],
)
def test_a_whole_model_that_is_not_one_is_refused(spoil, message, layouts, build_vit, tmp_path):
    state = build_vit().state_dict()
    file = layouts['released'][0](state, state)
    spoil(file)
    torch.save(file, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(tmp_path / 'x.pth', tmp_path / 'y.pth', 'mmpretrain')
    assert [path.name for path in tmp_path.iterdir()] == ['x.pth']


def test_a_destination_is_never_half_written(build_vit, tmp_path, monkeypatch):
    torch.save(build_vit().state_dict(), tmp_path / 'x.pth')
    (tmp_path / 'y.pth').write_text('precious')

    def fails(content, path):
        path.write(b'half')
        raise OSError('no space left on device')

    monkeypatch.setattr(torch, 'save', fails)
    with pytest.raises(CheckpointError, match='y.pth: cannot be written .no space left on device'):
        convert_checkpoint(tmp_path / 'x.pth', tmp_path / 'y.pth', 'timm', force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x.pth', 'y.pth']
    assert (tmp_path / 'y.pth').read_text() == 'precious'

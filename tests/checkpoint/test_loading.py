import argparse
import contextlib
import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.model import initialize
from mmpretrain.models import VisionTransformer
from safetensors.torch import save_file

from flsl_mm.checkpoint import CheckpointError, load_pretrained, pretrained_vit
from flsl_mm.checkpoint.converting import extract_backbone
from flsl_mm.checkpoint.layouts import identify

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def tokens(vit, images=IMAGES):
    with torch.no_grad():
        return vit(images)[0]


@pytest.fixture
def student(build_vit):
    return build_vit(seed=1)


@pytest.fixture
def teacher(build_vit):
    return build_vit(seed=2)


@pytest.fixture
def vit(build_vit):
    return build_vit(seed=3)


@pytest.fixture
def timm_state(layouts, student):
    return layouts['timm'][0](student.state_dict(), None)


def test_every_layout_gives_the_features_of_the_network_asked_for(
    layout, student, teacher, vit, tmp_path
):
    arrange, name, both = layout
    torch.save(arrange(student.state_dict(), teacher.state_dict()), tmp_path / 'file.pth')
    for key, expected in ((None, 'teacher'), ('teacher', 'teacher'), ('student', 'student')):
        report = load_pretrained(vit, tmp_path / 'file.pth', key)
        source = teacher if both and expected == 'teacher' else student
        assert torch.equal(tokens(vit), tokens(source))
        assert (report.layout, report.network) == (name, expected if both else 'backbone')


@pytest.mark.parametrize(
    'entries, key, expected',
    [
        (dict(state_dict='raw', state_dict_ema='mean'), None, 'mean'),
        (dict(model='raw', model_ema='mean'), None, 'mean'),
        (dict(model='raw', model_ema='mean'), 'teacher', 'mean'),
        (dict(model='raw', model_ema='mean'), 'student', 'raw'),
        (dict(model='raw', model_ema='mean'), 'model', 'raw'),
        (dict(model='raw', model_ema='mean'), 'model_ema', 'mean'),
        (dict(model='raw', model_ema=None), None, 'raw'),
        (dict(state_dict='raw', ema_state_dict='mean'), None, 'raw'),
        (dict(state_dict='raw', ema_state_dict='mean'), 'ema_state_dict', 'mean'),
        (dict(state_dict_ema='mean'), None, 'mean'),
        (dict(model_ema='mean'), 'teacher', 'mean'),
        (dict(ema_state_dict='mean'), None, 'mean'),
        (dict(model_state_dict='raw', epoch=3), None, 'raw'),
        (dict(net='raw'), None, 'raw'),
        (dict(weights='raw'), None, 'raw'),
        (dict(model=dict(state_dict='raw')), None, 'raw'),
        (dict(module='raw', global_steps=3), None, 'raw'),
        (dict(network='raw', optimizer=dict(state={0: dict(exp_avg='mean')})), None, 'raw'),
        (dict(checkpoint=dict(model=dict(state_dict='raw'))), None, 'raw'),
        (dict(model='raw', ema_model='mean'), None, 'raw'),
        (dict(model='raw', ema_model='mean'), 'ema_model', 'mean'),
        (dict(params='raw', params_ema='mean'), 'params_ema', 'mean'),
        (dict(encoder='raw', predictor={}, target_encoder='mean'), None, 'mean'),
        (dict(encoder='raw', predictor={}, target_encoder='mean'), 'student', 'raw'),
    ],
)
def test_the_states_of_a_file_are_networks_to_choose_from(
    entries, key, expected, timm_state, layouts, student, teacher, vit
):
    states = dict(raw=timm_state, mean=layouts['timm'][0](teacher.state_dict(), None))

    def fill(value):
        if isinstance(value, dict):
            return {name: fill(inner) for name, inner in value.items()}
        return states.get(value, value)

    report = load_pretrained(vit, fill(entries), key)
    assert torch.equal(tokens(vit), tokens(dict(raw=student, mean=teacher)[expected]))
    assert report.layout == 'timm'


@pytest.mark.parametrize('layout_name', ['released', 'DINO', 'ours'])
@pytest.mark.parametrize(
    'key, expected',
    [
        (None, 'teacher'),
        ('student', 'student'),
        ('model', 'teacher'),
        ('ema_state_dict', 'third'),
        ('ema_state_dict.teacher', 'third'),
        ('ema_state_dict.student', 'teacher'),
    ],
)
def test_so_are_both_networks_of_each_state(
    layout_name, key, expected, layouts, student, teacher, build_vit, vit
):
    arrange = layouts[layout_name][0]
    networks = dict(student=student, teacher=teacher, third=build_vit(seed=4))
    first, averaged = (
        arrange(networks[a].state_dict(), networks[b].state_dict())
        for a, b in (('student', 'teacher'), ('teacher', 'third'))
    )
    first, averaged = (state.get('state_dict', state) for state in (first, averaged))
    report = load_pretrained(vit, dict(model=first, ema_state_dict=averaged), key)
    assert torch.equal(tokens(vit), tokens(networks[expected]))
    assert report.layout == layouts[layout_name][1]


def test_a_state_that_is_not_in_the_file_is_refused(timm_state, vit):
    file = dict(model=timm_state, model_ema=timm_state)
    with pytest.raises(CheckpointError, match="one of .*'model_ema', 'model', got 'ema'"):
        load_pretrained(vit, file, 'ema')


@pytest.mark.parametrize(
    'prefix', ['model.', 'encoder.', 'visual.', 'trunk.', 'backbone.model.', '_forward_module.']
)
def test_names_may_all_begin_with_another_module_s(prefix, timm_state, student, vit):
    state = {f'{prefix}{name}': tensor for name, tensor in timm_state.items()}
    report = load_pretrained(vit, dict(state_dict={**state, 'head.weight': torch.zeros(3)}))
    assert torch.equal(tokens(vit), tokens(student))
    assert report.ignored['head.weight'] == 'outside the backbone'


@pytest.mark.parametrize('key, expected', [('online.encoder', 'raw'), ('target.encoder', 'mean')])
def test_so_may_those_of_two_networks(key, expected, timm_state, layouts, student, teacher, vit):
    states = {'online.encoder': timm_state}
    states['target.encoder'] = layouts['timm'][0](teacher.state_dict(), None)
    named = {f'{p}.{name}': t for p, state in states.items() for name, t in state.items()}
    load_pretrained(vit, named, key)
    assert torch.equal(tokens(vit), tokens(dict(raw=student, mean=teacher)[expected]))


def test_a_pair_may_be_dicts_of_dicts(timm_state, layouts, student, teacher, vit):
    averaged = layouts['timm'][0](teacher.state_dict(), None)
    load_pretrained(vit, dict(student=dict(backbone=timm_state), teacher=dict(backbone=averaged)))
    assert torch.equal(tokens(vit), tokens(teacher))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda t: t.to('meta'), 'has no values'),
        (lambda t: t.to_sparse(), 'is sparse'),
        (lambda t: t.to(torch.int8), 'torch.int8, not floating-point'),
        (lambda t: t.to(torch.complex64), 'torch.complex64, not floating-point'),
        (lambda t: t * float('nan'), 'NaN or infinite'),
        (lambda t: t.numpy(), 'lacks 1 backbone parameters'),
        (lambda t: [t], 'lacks 1 backbone parameters'),
    ],
)
def test_a_tensor_that_is_none_is_named(change, message, timm_state, vit):
    name = 'blocks.0.attn.qkv.weight'
    with pytest.raises(CheckpointError, match=message) as error:
        load_pretrained(vit, dict(model={**timm_state, name: change(timm_state[name])}))
    assert '\n' not in str(error.value)


def test_the_advice_for_pickles_of_detectron2_gives_a_file_that_loads(
    timm_state, student, vit, tmp_path, monkeypatch, project_root
):
    page = (project_root / 'docs/checkpoints.md').read_text()
    [code] = [c for c in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'latin1' in c]
    monkeypatch.chdir(tmp_path)
    arrays = {f'backbone.net.{name}': tensor.numpy() for name, tensor in timm_state.items()}
    arrays['backbone.simfp_2.4.weight'] = np.zeros((8, 8, 1, 1), np.float32)
    model = dict(model=arrays, __author__='Detectron2', matching_heuristics=True)
    (tmp_path / 'model.pkl').write_bytes(pickle.dumps(model, protocol=2))
    with pytest.raises(CheckpointError, match=r'a bare Python pickle .*docs/checkpoints\.md'):
        load_pretrained(vit, tmp_path / 'model.pkl')
    exec(code, {})
    report = load_pretrained(vit, tmp_path / 'model.pth')
    assert report.layout == 'detectron2 ViTDet'
    assert torch.equal(tokens(vit), tokens(student))


def test_blocks_in_chunks_are_read(timm_state, student, vit):
    state = {n.replace('blocks.', 'blocks.0.'): tensor for n, tensor in timm_state.items()}
    load_pretrained(vit, state)
    assert torch.equal(tokens(vit), tokens(student))


@pytest.mark.parametrize('name', ['weights.pth', 'pytorch_model.bin'])
def test_safetensors_are_known_by_what_they_hold(name, timm_state, student, vit, tmp_path):
    save_file({n: t.clone() for n, t in timm_state.items()}, tmp_path / name)
    load_pretrained(vit, tmp_path / name)
    assert torch.equal(tokens(vit), tokens(student))


def test_the_report_accounts_for_every_key_once(layout, student, teacher, vit):
    arrange, _, _ = layout
    file = arrange(student.state_dict(), teacher.state_dict())
    report = load_pretrained(vit, file)
    keys = set()
    for name, value in file.items():
        inner = value if name in ('state_dict', 'model', 'student', 'teacher') else {name: 0}
        prefix = f'{name}.' if name in ('student', 'teacher') else ''
        keys |= {f'{prefix}{key}' for key in inner}
    assert report.used.keys() | report.ignored.keys() == keys
    assert not report.used.keys() & report.ignored.keys()
    assert set(report.used.values()) == set(vit.state_dict())
    for entries in (report.used, report.ignored):
        assert all(text for text in entries.values())


def test_the_text_of_a_report_names_layout_network_and_keys(layouts, student, teacher, vit):
    report = load_pretrained(vit, layouts['DINO'][0](student.state_dict(), teacher.state_dict()))
    text = str(report)
    counts = (f'{name} {len(getattr(report, name))}' for name in ('used', 'resized', 'ignored'))
    assert text.splitlines()[1] == ', '.join([*counts, 'new 0'])
    assert 'layout DINO, network teacher (the default; in the file: teacher, student)' in text
    assert 'teacher.backbone.blocks.{0-1}.attn.qkv.weight -> layers.{0-1}.attn.qkv.weight' in text
    assert 'pos_embed : 1 x 17 x 24 to 1 x 16 x 24, 1 prefix row dropped' in text
    assert 'teacher.backbone.cls_token : the backbone has no class token' in text


def test_safetensors_are_read(timm_state, student, vit, tmp_path):
    save_file({k: v.contiguous() for k, v in timm_state.items()}, tmp_path / 'model.safetensors')
    load_pretrained(vit, tmp_path / 'model.safetensors')
    assert torch.equal(tokens(vit), tokens(student))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_dtypes_are_converted(dtype, timm_state, student, vit):
    load_pretrained(vit, {name: tensor.to(dtype) for name, tensor in timm_state.items()})
    assert vit.pos_embed.dtype == torch.float32
    assert torch.equal(vit.pos_embed, student.pos_embed.to(dtype).float())


def test_positions_of_another_grid_are_resized_bicubically(build_vit, layouts, student):
    large = build_vit(img_size=(48, 64))
    file = layouts['DINO backbone'][0](student.state_dict(), None)
    report = load_pretrained(large, file)
    maps = student.pos_embed.view(1, 4, 4, -1).permute(0, 3, 1, 2)
    expected = F.interpolate(maps, (6, 8), mode='bicubic').permute(0, 2, 3, 1).reshape(1, 48, -1)
    torch.testing.assert_close(large.pos_embed.data, expected)
    assert 'bicubic from 4 x 4 to 6 x 8' in report.resized['pos_embed']


def test_a_non_square_table_loads_where_the_grid_is_the_same(build_vit):
    source, target = build_vit(seed=1, img_size=(16, 40)), build_vit(seed=2, img_size=(16, 40))
    load_pretrained(target, source.state_dict())
    assert torch.equal(source.pos_embed, target.pos_embed)


def test_patches_of_another_size_keep_the_tokens_of_resized_images(build_vit, student):
    target = build_vit(img_size=64, patch_size=16)
    report = load_pretrained(target, student.state_dict())
    patches = IMAGES.unfold(2, 8, 8).unfold(3, 8, 8).transpose(1, 3).reshape(-1, 3, 8, 8)
    larger = F.interpolate(patches, (16, 16), mode='bicubic', antialias=True)
    with torch.no_grad():
        small = student.patch_embed.projection(patches)
        torch.testing.assert_close(target.patch_embed.projection(larger), small)
    assert '24 x 3 x 8 x 8 to 24 x 3 x 16 x 16' in report.resized['patch_embed.projection.weight']


def change(name, new):
    return lambda file: {**file, name: new(file[name])}


def poison(value):
    def new(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[3] = value
        return tensor

    return new


def drop(pattern):
    return lambda file: {name: t for name, t in file.items() if pattern not in name}


UNFIT = {
    'one parameter missing': (
        drop('blocks.1.norm2.bias'),
        'lacks 1 backbone parameters: layers.1.ln2.bias',
    ),
    'half of the keys missing': (drop('mlp'), r'lacks 8 backbone parameters: layers\.0\.ffn'),
    'fewer blocks': (
        drop('blocks.1.'),
        r'has 1 blocks, the backbone has 2; lacks layers\.1\.ln1\.weight, ',
    ),
    'no final norm': (drop('norm.'), r'lacks 2 backbone parameters: ln1\.weight, ln1\.bias'),
    'NaN': (change('blocks.0.mlp.fc1.weight', poison(float('nan'))), 'mlp.fc1.weight has NaN'),
    'infinite': (change('norm.bias', poison(float('inf'))), 'norm.bias has NaN or infinite'),
    'integers': (change('norm.weight', torch.Tensor.int), 'norm.weight is torch.int32'),
    'another shape': (change('norm.weight', lambda t: t[:-1]), 'norm.weight is 23, .* needs 24'),
    'no positions': (drop('pos_embed'), 'lacks 1 backbone parameters: pos_embed'),
    'unknown grid': (change('pos_embed', lambda t: t[:, :15]), '15 rows: no square patch grid'),
    'split key missing': (
        lambda f: {**drop('0.attn.qkv.bias')(f), 'blocks.0.attn.q.bias': torch.zeros(24)},
        'needs q, k and v',
    ),
    'layer scale': (
        lambda f: {**f, 'blocks.0.ls1.gamma': torch.ones(24)},
        r'has blocks\.0\.ls1\.gamma, .* another architecture',
    ),
    'a convolutional network': (lambda f: {'layer1.0.conv1.weight': torch.ones(3)}, 'known layout'),
    'no tensors': (lambda f: dict(epoch=3), 'holds no weights, only epoch'),
    'nothing': (lambda f: {}, 'holds no weights, only an empty dict'),
}


@pytest.mark.parametrize('case', UNFIT)
def test_a_file_that_does_not_fit_is_refused_in_one_line_and_changes_nothing(case, timm_state, vit):
    spoil, message = UNFIT[case]
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as error:
        load_pretrained(vit, spoil(timm_state))
    assert '\n' not in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in vit.state_dict().items())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_tensors_of_any_shape_are_loaded_or_refused_but_never_crash(data, layouts, build_vit):
    name = data.draw(st.sampled_from(list(layouts)))
    state = build_vit(seed=1).state_dict()
    file = layouts[name][0](state, state)
    weights = [v for v in (file, *file.values()) if isinstance(v, dict)]
    weights = data.draw(st.sampled_from([w for w in weights if len(w) > 20]))
    key = data.draw(st.sampled_from([k for k, v in weights.items() if torch.is_tensor(v)]))
    weights[key] = torch.zeros(data.draw(st.lists(st.integers(0, 5), max_size=4)))
    with contextlib.suppress(CheckpointError):
        load_pretrained(build_vit(), file)
    with contextlib.suppress(CheckpointError):
        extract_backbone(identify(file, 'file'), None)


def test_another_depth_or_width_is_refused_with_both_numbers(build_vit, timm_state):
    with pytest.raises(CheckpointError, match='has 2 blocks, the backbone has 3'):
        load_pretrained(build_vit(num_layers=3), timm_state)
    with pytest.raises(CheckpointError, match='is 24 wide, the backbone is 36 wide'):
        load_pretrained(build_vit(embed_dims=36), timm_state)


def test_an_ambiguous_position_table_is_refused(build_vit, timm_state):
    file = {
        **timm_state,
        'pos_embed': torch.zeros(1, 9, 24),  # 3 x 3, or 5 prefix rows and 2 x 2
        'cls_token': torch.zeros(1, 1, 24),
        'reg_token': torch.zeros(1, 4, 24),
    }
    with pytest.raises(CheckpointError, match='9 rows: ambiguous'):
        load_pretrained(build_vit(), file)


def test_a_square_table_is_not_taken_for_another_grid_of_as_many_patches(build_vit):
    square = build_vit(img_size=32).state_dict()
    with pytest.raises(CheckpointError, match='ambiguous, 0 prefix rows and .* patches'):
        load_pretrained(build_vit(img_size=(16, 64)), square)
    oblong = build_vit(img_size=(16, 32)).state_dict()
    vit = build_vit(img_size=(16, 32), seed=1)
    load_pretrained(vit, oblong)
    assert torch.equal(vit.pos_embed, oblong['pos_embed'])


CONFIG = "model = dict(type='FLSL', backbone=dict(arch={arch}, img_size=32))\nother = print"


@pytest.mark.parametrize(
    'recorded',
    [
        dict(meta=dict(num_heads=6)),
        dict(meta=dict(cfg=CONFIG.format(arch="'deit-small'"))),
        dict(meta=dict(cfg=CONFIG.format(arch='dict(embed_dims=384, num_heads=6)'))),
        dict(meta=dict(cfg="model = dict(backbone=dict(type='ViTFPN', num_heads=6))")),
        dict(args=argparse.Namespace(arch='vit_small')),
        dict(args=argparse.Namespace(model='mae_vit_small_patch16')),
        dict(arch='vit_small_patch16_224'),
    ],
    ids=['meta', 'arch name', 'arch dict', 'num_heads', 'DINO', 'MAE', 'timm'],
)
def test_a_head_count_other_than_the_recorded_one_is_refused(recorded, build_vit):
    small = dict(embed_dims=384, num_layers=1, feedforward_channels=8)
    six, eight = build_vit(num_heads=6, **small), build_vit(num_heads=8, **small)
    file = dict(recorded, state_dict=six.state_dict())
    assert load_pretrained(six, file).num_heads == 6
    with pytest.raises(CheckpointError, match='trained with 6 attention heads, the backbone has 8'):
        load_pretrained(eight, file)


def test_the_small_network_of_moco_v3_has_twelve_heads(build_vit, layouts):
    vit = build_vit(num_heads=12, embed_dims=384)
    file = layouts['MoCo v3'][0](vit.state_dict(), vit.state_dict())
    assert load_pretrained(vit, file).num_heads == 12
    file = layouts['MoCo v3 of mmpretrain'][0](vit.state_dict(), vit.state_dict())
    file['meta']['cfg'] = CONFIG.format(arch="'mocov3-small'")
    assert load_pretrained(vit, file).num_heads == 12


def test_an_arch_name_of_another_width_records_no_heads(layouts, student, teacher, vit):
    file = layouts['released'][0](student.state_dict(), teacher.state_dict())
    assert load_pretrained(vit, file).num_heads is None


def test_code_in_a_recorded_config_is_not_run(student, vit, tmp_path):
    config = f"model = dict(backbone=dict(arch=open({str(tmp_path / 'x')!r}, 'w')))\n1 +"
    for text in (config, config[:-3], None, 3):
        file = dict(meta=dict(cfg=text), state_dict=student.state_dict())
        assert load_pretrained(vit, file).num_heads is None
    assert not (tmp_path / 'x').exists()


def test_heads_that_do_not_divide_the_width_are_refused(vit, timm_state):
    vit.layers[0].attn.num_heads = 5
    with pytest.raises(CheckpointError, match='5 attention heads do not divide the width 24'):
        load_pretrained(vit, timm_state)


def test_a_network_that_is_not_there_is_refused(layouts, student, teacher, vit):
    file = layouts['released'][0](student.state_dict(), teacher.state_dict())
    del file['student']
    with pytest.raises(CheckpointError, match='holds no student, only the teacher'):
        load_pretrained(vit, file, 'student')
    with pytest.raises(CheckpointError, match="key must be one of 'teacher', 'student'"):
        load_pretrained(vit, file, 'ema')
    file = dict(meta=dict(network='teacher'), state_dict=student.state_dict())
    with pytest.raises(CheckpointError, match='holds the teacher only, not the student'):
        load_pretrained(vit, file, 'student')


def test_something_else_than_a_backbone_is_not_loaded(timm_state):
    with pytest.raises(CheckpointError, match='a Linear is no ViT backbone'):
        load_pretrained(torch.nn.Linear(2, 2), timm_state)


def test_a_backbone_with_a_class_token_is_refused(timm_state):
    arch = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192)
    with pytest.raises(CheckpointError, match='VisionTransformer has a class token'):
        load_pretrained(VisionTransformer(arch=arch, img_size=64), timm_state)


def test_the_config_entry_loads_after_the_random_initialization(
    layouts, student, teacher, vit, tmp_path
):
    file = layouts['ours'][0](student.state_dict(), teacher.state_dict())
    torch.save(file, tmp_path / 'epoch_3.pth')
    vit.init_cfg = dict(
        type='PretrainedViT', checkpoint=str(tmp_path / 'epoch_3.pth'), key='student'
    )
    vit._is_init = False
    vit.init_weights()
    assert torch.equal(tokens(vit), tokens(student))


def test_the_config_entry_without_a_file_says_so_and_a_wrong_path_stops(vit, tmp_path, monkeypatch):
    before = vit.pos_embed.clone()
    lines = []
    monkeypatch.setattr(pretrained_vit, 'print_log', lambda line, *_: lines.append(line))
    initialize(vit, dict(type='PretrainedViT', checkpoint=None))
    assert 'no pretrained weights given' in lines[0]
    assert torch.equal(vit.pos_embed, before)
    with pytest.raises(CheckpointError, match='no such file'):
        initialize(vit, dict(type='PretrainedViT', checkpoint=tmp_path / 'typo.pth'))

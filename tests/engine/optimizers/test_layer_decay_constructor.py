import json

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from flsl_mm.engine import LayerDecayConstructor
from flsl_mm.models import ViTDet, ViTFPN

NORMS = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)
TINY = dict(img_size=64, embed_dims=48, depth=4, num_heads=3)


class Detector(nn.Module):
    """A backbone and a head, as the constructor sees a detector."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8), nn.Linear(8, 3))


def detector(kind: str, **kwargs) -> Detector:
    if kind == 'ViTFPN':
        return Detector(ViTFPN(**TINY, out_indices=(0, 1, 2, 3), **kwargs))
    net = ViTDet(
        **TINY, window_size=2, global_indices=(1, 3), out_channels=8, pretrain_img_size=64, **kwargs
    )
    return Detector(net)


def build(
    model: nn.Module, decay_rate: float = 0.7, kind: str = 'OptimWrapper', **paramwise
) -> OptimWrapper:
    config = dict(type=kind, optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1))
    return LayerDecayConstructor(config, dict(decay_rate=decay_rate, **paramwise))(model)


def settings(model: nn.Module, wrapper: OptimWrapper) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay by parameter name; each parameter is in one group."""
    names = {id(p): n for n, p in model.named_parameters()}
    pairs = [
        (names[id(p)], (group['lr'], group['weight_decay']))
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    ]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def test_rates_are_those_of_detectron2(golden_dir):
    golden = json.loads((golden_dir / 'vitdet.json').read_text())
    model = Detector(
        ViTDet(
            img_size=golden['img_size'],
            embed_dims=golden['dim'],
            depth=golden['depth'],
            num_heads=golden['heads'],
            window_size=golden['window'],
            global_indices=[i for i in range(golden['depth']) if i not in golden['window_blocks']],
            out_channels=golden['out_channels'],
            pretrain_img_size=golden['pretrain_img_size'],
        )
    )
    found = settings(model, build(model, golden['lr_decay_rate']))
    expected = {}
    for name, scale in golden['lr_scale'].items():
        name = name.removeprefix('net.').replace('blocks.', 'layers.')
        for theirs, ours in (
            ('patch_embed.proj.', 'patch_embed.projection.'),
            ('.norm1.', '.ln1.'),
            ('.norm2.', '.ln2.'),
            ('.mlp.fc1.', '.ffn.layers.0.0.'),
            ('.mlp.fc2.', '.ffn.layers.1.'),
        ):
            name = name.replace(theirs, ours) if name.startswith(('layers', 'patch')) else name
        expected[f'backbone.{name}'] = scale * 1e-3
    rates = {name: lr for name, (lr, _) in found.items() if name.startswith('backbone.')}
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize('kind', ['ViTFPN', 'ViTDet'])
def test_norms_biases_and_positions_do_not_decay(kind):
    model = detector(kind)
    found = settings(model, build(model))
    assert found.keys() == dict(model.named_parameters()).keys()
    exempt = {
        f'{prefix}.{name}'
        for prefix, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
        if name == 'bias' or 'pos' in name or isinstance(module, NORMS)
    }
    assert {name for name, (_, decay) in found.items() if decay == 0} == exempt
    assert {decay for _, decay in found.values()} == {0, 0.1}


@pytest.mark.parametrize('kind', ['ViTFPN', 'ViTDet'])
@pytest.mark.parametrize('factor', [0.5, 1.0])
def test_biases_decay_if_asked_for_but_not_those_of_norms(kind, factor):
    model = detector(kind)
    found = settings(model, build(model, bias_decay_mult=factor))
    norms = {n for n, module in model.named_modules() if isinstance(module, NORMS)}
    biases = {n for n in found if n.endswith('.bias') and n.rpartition('.')[0] not in norms}
    assert 'backbone.patch_embed.projection.bias' in biases and 'head.0.bias' in biases
    assert {found[name][1] for name in biases} == {0.1 * factor}
    assert {found[f'{n}.{kind}'][1] for n in norms for kind in ('weight', 'bias')} == {0}


@pytest.mark.parametrize('kind', ['ViTFPN', 'ViTDet'])
def test_there_are_two_groups_per_depth(kind):
    wrapper = build(detector(kind))
    rates = [group['lr'] for group in wrapper.optimizer.param_groups]
    assert rates == pytest.approx([1e-3 * 0.7**d for d in range(6) for _ in range(2)])


def test_without_decay_there_are_two_groups():
    wrapper = build(detector('ViTFPN'), decay_rate=1.0)
    assert [g['lr'] for g in wrapper.optimizer.param_groups] == [1e-3, 1e-3]
    assert [g['weight_decay'] for g in wrapper.optimizer.param_groups] == [0.1, 0.0]


def test_frozen_parameters_are_left_out():
    model = detector('ViTFPN', frozen_stages=2)
    found = settings(model, build(model))
    assert found.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert min(lr for lr, _ in found.values()) == pytest.approx(1e-3 * 0.7**2)


def test_the_logged_learning_rate_is_the_real_one():
    wrapper = build(detector('ViTDet'))
    for group in wrapper.optimizer.param_groups:
        group['lr'] *= 2  # as scaling by the batch size does
    rates = wrapper.get_lr()
    assert rates.keys() == {'lr'} and rates['lr'][0] == 2e-3  # the first is logged


def test_mixed_precision_wrapper():
    if torch.cuda.is_available():
        wrapper = build(detector('ViTFPN').cuda(), kind='AmpOptimWrapper')
        assert wrapper.get_lr()['lr'][0] == 1e-3
    else:  # it is what runs without a GPU that the configs name
        with pytest.raises(AssertionError, match='only available'):
            build(detector('ViTFPN'), kind='AmpOptimWrapper')


@pytest.mark.parametrize(
    'paramwise', [None, dict(), dict(decay_rate=0.0), dict(decay_rate=1.5), dict(decay_rat=0.7)]
)
def test_other_settings_are_refused(paramwise):
    config = dict(optimizer=dict(type='AdamW', lr=1e-3))
    with pytest.raises(ValueError, match='decay_rate'):
        LayerDecayConstructor(config, paramwise)


def test_it_is_found_from_every_scope():
    for scope in ('mmdet', 'mmseg'):
        registry = pytest.importorskip(f'{scope}.registry').OPTIM_WRAPPER_CONSTRUCTORS
        assert registry.get('LayerDecayConstructor') is LayerDecayConstructor
    assert OPTIM_WRAPPER_CONSTRUCTORS.get('LayerDecayConstructor') is LayerDecayConstructor

"""Released weights through this package give the numbers of the released code."""

import json

import numpy as np
import pytest
import torch

from flsl_mm.checkpoint import convert_checkpoint, load_pretrained, read_checkpoint
from flsl_mm.models import ViTDet, ViTFPN

STEPS = ['step_multicrop', 'step_single_pair']


def tensors(path, dtype):
    return {
        n: torch.from_numpy(a).to(dtype) for n, a in np.load(path).items() if a.dtype.kind == 'f'
    }


@pytest.mark.parametrize(('dtype', 'rtol'), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
@pytest.mark.parametrize('name', STEPS)
def test_released_backbones_give_the_golden_features(name, dtype, rtol, golden_dir, build_vit):
    values = tensors(golden_dir / f'{name}.npz', dtype)
    arch = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192)
    vit = build_vit(img_size=128, patch_size=16, **arch).to(dtype)
    for key, view, encoding in (
        ('student', 'view.1', 'encoding.1'),
        ('teacher', 'view.0', 'encoding.teacher'),
    ):
        load_pretrained(vit, golden_dir / f'{name}.pth', key)
        with torch.no_grad():
            torch.testing.assert_close(vit(values[view])[0], values[encoding], rtol=rtol, atol=rtol)


@pytest.mark.parametrize('name', STEPS)
def test_a_converted_model_gives_the_golden_losses(name, golden_dir, build_flsl, tmp_path):
    convert_checkpoint(golden_dir / f'{name}.pth', tmp_path / 'model.pth', 'mmpretrain')
    setting = json.loads((golden_dir / f'{name}.json').read_text())
    model = build_flsl(
        neck={scale: setting[scale] for scale in ('self_scale', 'cross_scale')},
        head=dict(
            teacher_temp=setting['teacher_temp'],
            loss_weights=dict(zip(('intra', 'inter', 'volume'), setting['coefficients'])),
        ),
    )
    state = read_checkpoint(tmp_path / 'model.pth')['state_dict']
    model.load_state_dict(state, strict=True)
    values = tensors(golden_dir / f'{name}.npz', torch.float64)
    views = [values[f'view.{i}'] for i in range(2 + setting['num_local_views'])]
    losses = model.double().loss(views)
    for term, weight in zip(('intra', 'inter', 'volume'), setting['coefficients']):
        assert losses[f'loss_{term}'].item() == pytest.approx(
            weight * setting[f'loss_{term}'], rel=1e-5
        )


@pytest.mark.parametrize('name', ['vit_fpn_p16', 'vit_fpn_p8'])
def test_released_detection_backbones_load_with_their_pyramid(name, golden_dir):
    setting = json.loads((golden_dir / f'{name}.json').read_text())
    backbone = ViTFPN(embed_dims=setting.pop('embed_dim'), **setting).eval()
    report = load_pretrained(backbone, golden_dir / f'{name}.pth')
    assert report.layout == 'released FLSL detection' and not report.new
    values = tensors(golden_dir / f'{name}.npz', torch.float32)
    with torch.no_grad():
        for i, out in enumerate(backbone(values['input'])):
            torch.testing.assert_close(out, values[f'out.{i}'], rtol=1e-4, atol=1e-4)


def build_vitdet(setting):
    return ViTDet(
        img_size=setting['img_size'],
        patch_size=16,
        embed_dims=setting['dim'],
        depth=setting['depth'],
        num_heads=setting['heads'],
        window_size=setting['window'],
        global_indices=[i for i in range(setting['depth']) if i not in setting['window_blocks']],
        out_channels=setting['out_channels'],
        pretrain_img_size=setting['pretrain_img_size'],
    ).eval()


def test_detectron2_backbones_load_with_their_pyramid(golden_dir):
    backbone = build_vitdet(json.loads((golden_dir / 'vitdet.json').read_text()))
    report = load_pretrained(backbone, golden_dir / 'vitdet.pth')
    assert report.layout == 'detectron2 ViTDet' and not report.new
    values = tensors(golden_dir / 'vitdet.npz', torch.float32)
    with torch.no_grad():
        for i, out in enumerate(backbone(values['input'])):
            torch.testing.assert_close(out, values[f'out.p{i + 2}'], rtol=1e-4, atol=1e-4)


def test_a_pretrained_backbone_leaves_the_pyramid_and_relative_positions_initial(
    golden_dir, build_vit
):
    setting = json.loads((golden_dir / 'vitdet.json').read_text())
    backbone = build_vitdet(setting)
    before = backbone.state_dict()['simfp_4.0.weight'].clone()
    source = build_vit(
        img_size=64,
        patch_size=16,
        embed_dims=48,
        num_layers=setting['depth'],
        num_heads=3,
        feedforward_channels=192,
    )
    report = load_pretrained(backbone, source.state_dict())
    assert set(report.ignored) == {'ln1.weight', 'ln1.bias'}
    assert {'simfp_4.0.weight', 'layers.0.attn.rel_pos_h'} <= set(report.new)
    counts = report.summary.splitlines()[1]
    assert (
        f'new {len(report.new)} (' in counts and "the detector's pyramid, which training" in counts
    )
    assert torch.equal(before, backbone.state_dict()['simfp_4.0.weight'])


def test_relative_positions_of_another_window_are_resized(golden_dir):
    setting = json.loads((golden_dir / 'vitdet.json').read_text())
    backbone = build_vitdet(dict(setting, window=6))
    report = load_pretrained(backbone, golden_dir / 'vitdet.pth')
    assert report.resized['layers.0.attn.rel_pos_h'] == '7 x 16 to 11 x 16, linear'
    old = read_checkpoint(golden_dir / 'vitdet.pth')['net.blocks.0.attn.rel_pos_h']
    new = backbone.state_dict()['layers.0.attn.rel_pos_h']
    torch.testing.assert_close(new[5], old[3])  # the same place stays the same

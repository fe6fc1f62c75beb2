import logging
import math
from types import SimpleNamespace

import pytest
import torch

from flsl_mm.checkpoint import CheckpointError, report
from flsl_mm.models import FLSLVisionTransformer, build_vit

ARCH = dict(embed_dims=64, num_layers=3, num_heads=4, feedforward_channels=96)


@pytest.fixture
def saved(tmp_path):
    """A ViT with random weights and the file that holds them, heads recorded or not."""

    def save(**meta):
        vit = FLSLVisionTransformer(ARCH, img_size=48, patch_size=8, out_type='raw').eval()
        vit.init_weights()
        path = tmp_path / 'vit.pth'
        torch.save(dict(state_dict=vit.state_dict(), meta=meta), path)
        return vit, str(path)

    return save


def test_the_design_is_read_off_the_weights(saved):
    vit, path = saved(num_heads=4)
    built = build_vit(path)
    images = torch.randn(2, 3, 64, 40)
    torch.testing.assert_close(built.forward_tokens([images]), vit.forward_tokens([images]))
    assert built(images)[-1].shape == (2, 40, 64)
    assert not built.training
    assert not any(parameter.requires_grad for parameter in built.parameters())


def test_in_python_the_log_has_three_lines_of_a_file_and_the_network_all(saved, monkeypatch):
    said = []
    monkeypatch.setattr(report, 'print_log', lambda text, logger: said.append(text))
    logger = SimpleNamespace(handlers=[logging.StreamHandler()], log=lambda *_: None)
    monkeypatch.setattr(report.MMLogger, 'get_current_instance', lambda: logger)
    _, path = saved(num_heads=4)
    vit = build_vit(path)
    [text] = said
    assert len(text.splitlines()) == 3 and text.endswith(
        'print `load_report` of what `build_vit` returns)'
    )
    assert f'used {len(vit.load_report.used)},' in text and 'attn.qkv' in str(vit.load_report)
    logger.handlers.append(logging.FileHandler(path + '.log'))
    build_vit(path)
    assert str(vit.load_report) in said[1]
    assert build_vit('random:deit-tiny/16').load_report is None


def test_unrecorded_heads_are_64_wide_or_told(saved):
    _, path = saved()
    assert build_vit(path).layers[0].attn.num_heads == 1
    assert build_vit(path, num_heads=4).layers[0].attn.num_heads == 4


def test_told_heads_that_contradict_the_file_are_refused(saved):
    _, path = saved(num_heads=4)
    with pytest.raises(CheckpointError, match='was trained with 4 attention heads'):
        build_vit(path, num_heads=2)


@pytest.mark.parametrize('source', ['', 'random:'])
@pytest.mark.parametrize('heads', [5, 0, -2])
def test_told_heads_that_do_not_divide_the_width_are_refused(saved, source, heads):
    _, path = saved()
    with pytest.raises(CheckpointError, match=f'vit.pth: {heads} attention heads do not divide'):
        build_vit(f'{source}{path}', num_heads=heads)


def test_heads_that_cannot_be_told_are_asked_for(tmp_path):
    arch = dict(ARCH, embed_dims=48)
    vit = FLSLVisionTransformer(arch, img_size=48, patch_size=8)
    path = tmp_path / 'narrow.pth'
    torch.save(vit.state_dict(), path)
    with pytest.raises(CheckpointError, match='narrow.pth: does not record .*--num-heads'):
        build_vit(str(path))


def test_random_weights_of_a_named_design_depend_on_the_seed_alone():
    arch = 'random:deit-tiny/16'
    state = torch.get_rng_state()
    first, again, other = build_vit(arch), build_vit(arch), build_vit(arch, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    weight = 'layers.0.attn.qkv.weight'
    assert torch.equal(first.state_dict()[weight], again.state_dict()[weight])
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])
    assert (first.embed_dims, first.patch_size, first.img_size) == (192, 16, (224, 224))


def test_random_weights_in_the_design_of_a_file(saved):
    vit, path = saved(num_heads=4)
    random = build_vit(f'random:{path}')
    assert random.state_dict().keys() == vit.state_dict().keys()
    weight = 'layers.0.attn.qkv.weight'
    assert not torch.equal(random.state_dict()[weight], vit.state_dict()[weight])


def test_an_unknown_design_is_named():
    with pytest.raises(CheckpointError, match="no arch 'vit-small'; known: .*deit-small"):
        build_vit('random:vit-small/16')


@pytest.mark.parametrize('patch', [0, 225, 300])
def test_a_patch_without_size_or_larger_than_the_image_is_refused(patch):
    with pytest.raises(CheckpointError, match=f'patch is 1 to 224 pixels wide, not {patch}'):
        build_vit(f'random:deit-tiny/{patch}')


@pytest.mark.parametrize('scale, expected', [(0.06, 0.06), ('auto', 0.02)])
def test_the_scale_of_training_comes_with_the_file(build_flsl, scale, expected):
    model = build_flsl(neck=dict(self_scale=scale, cross_scale=None if scale == 'auto' else 0.12))
    if scale == 'auto':
        model.neck.auto_scale[:2] = torch.tensor([8 * math.log(0.02), 8.0])
    text = f"model = dict(neck=dict(self_scale={scale!r}, type='MeanShiftNeck'))"
    file = dict(state_dict=model.state_dict(), meta=dict(cfg=text))
    assert build_vit(file, num_heads=3).self_scale == pytest.approx(expected)
    file = dict(state_dict=build_flsl().state_dict(), meta={})
    assert build_vit(file, num_heads=3).self_scale is None

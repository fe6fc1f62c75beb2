"""Encoders as other programs run them."""

import json

import numpy as np
import pytest
import torch

from flsl_mm.apis.any_size import AnySizeEncoder
from flsl_mm.apis.exporting import Encoder, export_network
from flsl_mm.models import FLSLVisionTransformer, ViTDet, ViTFPN, build_vit
from flsl_mm.utils.errors import CheckpointError

ARCH = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=100)


@pytest.fixture(params=['ours', 'class token', 'registers'])
def source(request, tmp_path):
    """A file of our network, or of one with class token or with registers too; 3 heads."""
    torch.manual_seed(0)
    path = str(tmp_path / 'source.pth')
    if request.param == 'ours':
        torch.save(dict(state_dict=FLSLVisionTransformer(ARCH, 32, 8).state_dict()), path)
        return path
    models = pytest.importorskip('timm.models')
    registers = 4 if request.param == 'registers' else 0
    model = models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0,
        reg_tokens=registers, no_embed_class=bool(registers),
    )  # fmt: skip
    torch.save(model.state_dict(), path)
    return path


def test_timm_opens_the_folder_in_one_line_and_gives_the_same_tokens(source, tmp_path):
    timm = pytest.importorskip('timm')
    facts = export_network(source, tmp_path / 'folder', 'timm', num_heads=3)
    assert {p.name for p in (tmp_path / 'folder').iterdir()} == {'config.json', 'model.safetensors'}
    model = timm.create_model(f'local-dir:{tmp_path / "folder"}', pretrained=True).eval()
    vit, images = build_vit(source, num_heads=3), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens, prefix = vit.forward_features(images)
        assert torch.allclose(
            model.forward_features(images), torch.cat([prefix, tokens], 1), atol=1e-4
        )
        assert model(images).shape == (2, 48)
    config = timm.data.resolve_model_data_config(model)
    assert tuple(config['input_size']) == (3, 32, 32)
    assert np.allclose(np.array(config['mean']) * 255, vit.mean, atol=1e-3)
    stored = json.loads((tmp_path / 'folder/config.json').read_text())
    assert stored['model_args']['class_token'] == vit.has_class_token == facts['class_token']
    with pytest.raises(CheckpointError, match='exists; pass --force'):
        export_network(source, tmp_path / 'folder', 'timm', num_heads=3)
    export_network(source, tmp_path / 'folder', 'timm', num_heads=3, force=True)
    assert {p.name for p in tmp_path.iterdir()} == {'folder', 'source.pth'}


def test_onnxruntime_gives_the_same_tokens_of_any_number_of_images(source, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    size = None if 'cls_token' in torch.load(source) else (24, 40)
    facts = export_network(source, tmp_path / 'vit.onnx', 'onnx', num_heads=3, size=size)
    assert facts['difference'] < 1e-4
    session = runtime.InferenceSession(tmp_path / 'vit.onnx', providers=['CPUExecutionProvider'])
    vit = build_vit(source, num_heads=3)
    for count in (1, 4):
        images = torch.randn(count, 3, *(size or (32, 32)))
        with torch.no_grad():
            wanted = Encoder(vit)(images)
        for found, part in zip(session.run(None, dict(images=images.numpy())), wanted, strict=True):
            assert np.allclose(found, part.numpy(), atol=1e-4)
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored['patch_size']) == 8 and len(json.loads(stored['mean'])) == 3


def test_onnxruntime_gives_the_same_tokens_of_images_of_any_size(source, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    facts = export_network(source, tmp_path / 'vit.onnx', 'onnx', num_heads=3, any_size=True)
    assert facts['difference'] < 1e-4 and facts['size'] is None
    session = runtime.InferenceSession(tmp_path / 'vit.onnx', providers=['CPUExecutionProvider'])
    vit = build_vit(source, num_heads=3)
    for size in ((32, 32), (16, 24), (40, 32), (96, 200)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            wanted = Encoder(vit)(images)
        for found, part in zip(session.run(None, dict(images=images.numpy())), wanted, strict=True):
            assert np.allclose(found, part.numpy(), atol=1e-4)


@pytest.mark.parametrize('size', [(32, 32), (16, 24), (40, 32), (72, 136)])
def test_positions_of_any_size_are_those_of_the_network(source, size):
    vit, images = build_vit(source, num_heads=3), torch.randn(2, 3, *size)
    with torch.no_grad():
        for found, wanted in zip(AnySizeEncoder(vit)(images), Encoder(vit)(images), strict=True):
            assert torch.allclose(found, wanted, atol=1e-4)


def test_rotary_positions_of_any_size_are_refused(tmp_path):
    pytest.importorskip('timm')
    vit = build_vit('random:timm/vit_small_patch16_dinov3')
    with pytest.raises(CheckpointError, match='rotary positions .*: give --size'):
        AnySizeEncoder(vit)


def test_without_its_packages_onnx_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'onnxruntime', None)
    with pytest.raises(CheckpointError, match='pip install'):
        export_network('random:deit-tiny/16', tmp_path / 'vit.onnx', 'onnx')
    with pytest.raises(CheckpointError, match='must end in .onnx'):
        export_network('random:deit-tiny/16', tmp_path / 'vit.pth', 'onnx')


def test_what_timm_cannot_express_is_refused_and_leaves_nothing(tmp_path):
    pytest.importorskip('timm')
    with pytest.raises(CheckpointError, match='timm has this network by its name'):
        export_network('random:timm/vit_tiny_patch16_224', tmp_path / 'folder', 'timm')
    assert not list(tmp_path.iterdir())


NETWORKS = {
    'encoder': lambda: Encoder(FLSLVisionTransformer(ARCH, 32, 8)),
    'ViTFPN': lambda: ViTFPN(32, 8, 48, depth=2, num_heads=3, out_indices=(0, 0, 1, 1)),
    'ViTDet': lambda: ViTDet(
        img_size=32,
        patch_size=16,
        embed_dims=48,
        depth=2,
        num_heads=3,
        window_size=2,
        global_indices=(1,),
        out_channels=8,
        pretrain_img_size=32,
    ),  # fmt: skip
}


@pytest.mark.parametrize('name', NETWORKS)
def test_torch_exports_it_with_the_same_results(name):
    torch.manual_seed(0)
    network, images = NETWORKS[name]().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        program = torch.export.export(network, (images,)).module()
        for found, wanted in zip(program(images), network(images), strict=True):
            assert torch.allclose(found, wanted, atol=1e-5)

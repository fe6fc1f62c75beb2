import json

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from flsl_mm.models import ViTDet

TINY = dict(
    img_size=96,
    embed_dims=32,
    depth=4,
    num_heads=2,
    window_size=3,
    global_indices=(1, 3),
    out_channels=8,
    pretrain_img_size=64,
)


def from_detectron2(name):
    """Our name of a parameter of the golden network."""
    if not name.startswith('net.'):
        return name
    for theirs, ours in (
        ('net.', ''),
        ('patch_embed.proj.', 'patch_embed.projection.'),
        ('blocks.', 'layers.'),
        ('.norm1.', '.ln1.'),
        ('.norm2.', '.ln2.'),
        ('.mlp.fc1.', '.ffn.layers.0.0.'),
        ('.mlp.fc2.', '.ffn.layers.1.'),
    ):
        name = name.replace(theirs, ours)
    return name


def golden_network(golden_dir):
    settings = json.loads((golden_dir / 'vitdet.json').read_text())
    net = ViTDet(
        img_size=settings['img_size'],
        embed_dims=settings['dim'],
        depth=settings['depth'],
        num_heads=settings['heads'],
        window_size=settings['window'],
        global_indices=[i for i in range(settings['depth']) if i not in settings['window_blocks']],
        out_channels=settings['out_channels'],
        pretrain_img_size=settings['pretrain_img_size'],
    )
    return net, settings


def moved(net):
    """``net`` with relative positions that matter (they start at zero)."""
    for layer in net.layers:
        nn.init.normal_(layer.attn.rel_pos_h, std=0.5)
        nn.init.normal_(layer.attn.rel_pos_w, std=0.5)
    return net


def test_maps_equal_detectron2(golden_dir):
    net, _ = golden_network(golden_dir)
    state = torch.load(golden_dir / 'vitdet.pth', weights_only=True)
    net.load_state_dict({from_detectron2(key): value for key, value in state.items()})
    values = np.load(golden_dir / 'vitdet.npz')
    with torch.no_grad():
        maps = net.eval()(torch.from_numpy(values['input']).float())
    assert len(maps) == 5
    for i, level in enumerate(maps, start=2):
        expected = torch.from_numpy(values[f'out.p{i}'])
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-5)


def test_layer_depth_gives_detectron2s_learning_rate_scales(golden_dir):
    net, settings = golden_network(golden_dir)
    scales = {}
    for name, _ in net.named_parameters():
        layer, num_layers = net.get_layer_depth(f'backbone.{name}', 'backbone.')
        scales[name] = settings['lr_decay_rate'] ** (num_layers - layer - 1)
    assert scales == pytest.approx(
        {from_detectron2(name): scale for name, scale in settings['lr_scale'].items()}
    )


@pytest.mark.parametrize('size', [(96, 96), (1, 1), (17, 100), (75, 33), (130, 65)])
def test_any_size_gives_maps_of_the_true_strides(size):
    net = moved(ViTDet(**TINY)).eval()
    with torch.no_grad():
        maps = net(torch.rand(2, 3, *size))
    for stride, level in zip((4, 8, 16, 32, 64), maps):
        assert level.shape == (2, 8, -(-size[0] // stride), -(-size[1] // stride))
        assert level.isfinite().all()


def test_windowed_blocks_do_not_see_beyond_their_window():
    net = moved(ViTDet(**{**TINY, 'global_indices': ()})).eval()
    image = torch.rand(1, 3, 96, 96, requires_grad=True)
    tokens = net.embed(image).unflatten(1, (6, 6))
    for layer in net.layers:
        tokens = layer(tokens)
    tokens[0, 0, 0].sum().backward()
    reached = image.grad.abs().sum((0, 1)) > 0
    assert reached[:48, :48].all() and not reached[48:].any() and not reached[:, 48:].any()


def test_drop_path_rises_linearly_and_acts_in_training_only():
    torch.manual_seed(0)
    net = ViTDet(**TINY, drop_path_rate=0.6)
    rates = [layer.attn.out_drop.drop_prob for layer in net.layers]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.6])
    assert rates == pytest.approx([layer.ffn.dropout_layer.drop_prob for layer in net.layers])
    image = torch.rand(2, 3, 96, 96)
    net.train()
    assert not torch.equal(net(image)[2], net(image)[2])
    net.eval()
    assert torch.equal(net(image)[2], net(image)[2])


def test_checkpointing_changes_memory_but_not_gradients(gradients_with_and_without_checkpointing):
    plain = moved(ViTDet(**TINY, drop_path_rate=0.3)).train()
    image = torch.rand(2, 3, 96, 64)
    for name, a, b in gradients_with_and_without_checkpointing(plain, image):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2])
def test_frozen_stages_have_no_gradient_and_stay_in_eval_mode(frozen_stages):
    net = ViTDet(**TINY, frozen_stages=frozen_stages).train()
    sum(level.mean() for level in net(torch.rand(2, 3, 96, 96))).backward()
    for name, parameter in net.named_parameters():
        layer, _ = net.get_layer_depth(name)
        assert (parameter.grad is None) == (layer <= frozen_stages), name
    assert [layer.training for layer in net.layers] == [i >= frozen_stages for i in range(4)]


@pytest.mark.parametrize('scope', [None, 'mmdet', 'mmseg', 'mmpretrain'])
def test_builds_from_every_openmmlab_registry(scope):
    registry = MODELS
    if scope:
        registry = pytest.importorskip(f'{scope}.registry').MODELS
    assert isinstance(registry.build(dict(type='ViTDet', **TINY)), ViTDet)


def test_initialization_loads_last_and_resizes_nothing(tmp_path):
    donor = moved(ViTDet(**TINY))
    path = str(tmp_path / 'donor.pth')
    torch.save(donor.state_dict(), path)
    net = ViTDet(**TINY, init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    for name, value in net.state_dict().items():
        assert torch.equal(value, donor.state_dict()[name]), name


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(num_heads=3), 'embed_dims=32 is not divisible by num_heads=3'),
        (dict(patch_size=8), 'patch_size 16, got 8'),
        (dict(global_indices=(1, 4)), r'global_indices=\(1, 4\) must lie in 0..3'),
        (dict(window_size=0), 'window_size must be positive'),
        (dict(frozen_stages=5), r'frozen_stages=5 is outside \[-1, depth=4\]'),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        ViTDet(**{**TINY, **changes})
    assert '\n' not in str(error.value)


def test_packed_views_are_refused():
    with pytest.raises(NotImplementedError, match='FLSLVisionTransformer'):
        ViTDet(**TINY).forward_tokens([torch.rand(1, 3, 96, 96)])

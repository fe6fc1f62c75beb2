import json

import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import nn

from flsl_mm.models import ViTFPN
from flsl_mm.models.backbones import vit_fpn

TINY = dict(img_size=64, embed_dims=32, depth=4, num_heads=2, out_indices=(0, 1, 2, 3))


def from_timm(name):
    """Our name of a parameter of the golden network."""
    for theirs, ours in (
        ('patch_embed.proj.', 'patch_embed.projection.'),
        ('blocks.', 'layers.'),
        ('.norm1.', '.ln1.'),
        ('.norm2.', '.ln2.'),
        ('.mlp.fc1.', '.ffn.layers.0.0.'),
        ('.mlp.fc2.', '.ffn.layers.1.'),
    ):
        name = name.replace(theirs, ours)
    return name


@pytest.mark.parametrize('name', ['vit_fpn_p16', 'vit_fpn_p8'])
def test_maps_equal_the_released_detection_backbone(golden_dir, name):
    settings = json.loads((golden_dir / f'{name}.json').read_text())
    settings['embed_dims'] = settings.pop('embed_dim')
    net = ViTFPN(**settings).eval()
    state = torch.load(golden_dir / f'{name}.pth', weights_only=True)
    net.load_state_dict({from_timm(key): value for key, value in state.items()})
    values = np.load(golden_dir / f'{name}.npz')
    with torch.no_grad():
        maps = net(torch.from_numpy(values['input']).float())
    assert len(maps) == 4
    for i, level in enumerate(maps):
        expected = torch.from_numpy(values[f'out.{i}'])
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('patch_size', [8, 16])
@pytest.mark.parametrize('size', [(64, 64), (1, 1), (17, 100), (75, 33), (96, 31)])
def test_any_size_gives_maps_of_the_true_strides(patch_size, size):
    net = ViTFPN(patch_size=patch_size, **TINY).eval()
    with torch.no_grad():
        maps = net(torch.rand(2, 3, *size))
    for stride, level in zip((4, 8, 16, 32), maps):
        assert level.shape == (2, 32, -(-size[0] // stride), -(-size[1] // stride))
        assert level.isfinite().all()


def test_an_odd_size_is_the_crop_of_the_zero_padded_image():
    net = ViTFPN(**TINY).eval()
    image = torch.rand(1, 3, 50, 70)
    padded = nn.functional.pad(image, (0, 10, 0, 14))
    with torch.no_grad():
        for cropped, whole in zip(net(image), net(padded)):
            h, w = cropped.shape[-2:]
            torch.testing.assert_close(cropped, whole[..., :h, :w])


def test_each_level_comes_from_its_own_block():
    net = ViTFPN(**{**TINY, 'out_indices': (3, 0, 3, 1)}).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        maps = net(image)
        tokens = [net.embed(image)]
        for layer in net.layers:
            tokens.append(layer(tokens[-1]))
    after = [t.transpose(1, 2).unflatten(2, (4, 4)) for t in tokens[1:]]
    torch.testing.assert_close(maps[1], net.fpn2(after[0]))
    torch.testing.assert_close(maps[2], after[3])
    torch.testing.assert_close(maps[3], nn.functional.max_pool2d(after[1], 2))


def test_drop_path_is_active_in_training_only():
    torch.manual_seed(0)
    net = ViTFPN(**TINY, drop_path_rate=0.5)
    image = torch.rand(2, 3, 64, 64)
    net.train()
    assert not torch.equal(net(image)[2], net(image)[2])
    net.eval()
    assert torch.equal(net(image)[2], net(image)[2])


def test_checkpointing_changes_memory_but_not_gradients(gradients_with_and_without_checkpointing):
    plain = ViTFPN(**TINY, drop_path_rate=0.3).train()
    image = torch.rand(2, 3, 64, 64)
    for name, a, b in gradients_with_and_without_checkpointing(plain, image):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 4])
def test_frozen_stages_have_no_gradient_and_stay_in_eval_mode(frozen_stages):
    net = ViTFPN(**TINY, frozen_stages=frozen_stages, drop_path_rate=0.5)
    for _ in range(2):  # once as built, once after train()
        frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
        prefixes = [f'layers.{i}.' for i in range(max(frozen_stages, 0))]
        prefixes += ['patch_embed.', 'pos_embed'] if frozen_stages >= 0 else []
        assert frozen == {
            n for n, _ in net.named_parameters() if prefixes and n.startswith(tuple(prefixes))
        }
        net.train()
    modes = [layer.training for layer in net.layers]
    assert modes == [i >= frozen_stages for i in range(4)]
    sum(level.mean() for level in net(torch.rand(2, 3, 64, 64))).backward()
    assert all((p.grad is None) == (n in frozen) for n, p in net.named_parameters())


def test_position_embedding_is_trained():
    net = ViTFPN(**TINY)
    sum(level.square().mean() for level in net(torch.rand(2, 3, 96, 64))).backward()
    assert net.pos_embed.grad.abs().sum() > 0


@pytest.mark.parametrize('backend, expected', [(None, 'BN'), ('gloo', 'BN'), ('nccl', 'SyncBN')])
def test_pyramid_norm_is_synchronised_only_where_that_can_run(monkeypatch, backend, expected):
    monkeypatch.setattr(vit_fpn, 'get_backend', lambda: backend)
    net = ViTFPN(**TINY)
    assert isinstance(net.fpn1[1], nn.SyncBatchNorm) == (expected == 'SyncBN')
    monkeypatch.undo()
    same_weights = ViTFPN(**TINY)
    same_weights.load_state_dict(net.state_dict())
    image = torch.rand(2, 3, 64, 64)
    reverted = revert_sync_batchnorm(net)
    torch.testing.assert_close(reverted(image)[0], same_weights(image)[0])


def test_pyramid_norm_can_be_chosen():
    net = ViTFPN(**TINY, norm_cfg=dict(type='GN', num_groups=4))
    assert isinstance(net.fpn1[1], nn.GroupNorm)


@pytest.mark.parametrize('scope', [None, 'mmdet', 'mmseg', 'mmpretrain'])
def test_builds_from_every_openmmlab_registry(scope):
    registry = MODELS
    if scope:
        registry = pytest.importorskip(f'{scope}.registry').MODELS
    assert isinstance(registry.build(dict(type='ViTFPN', patch_size=8, **TINY)), ViTFPN)


def test_layer_depth_counts_embedding_blocks_and_pyramid():
    net = ViTFPN(**TINY)
    depths = {n: net.get_layer_depth(f'backbone.{n}', 'backbone.') for n in net.state_dict()}
    assert depths['pos_embed'] == depths['patch_embed.projection.weight'] == (0, 6)
    assert depths['layers.0.ln1.weight'] == (1, 6)
    assert depths['layers.3.ffn.layers.1.bias'] == (4, 6)
    assert depths['fpn1.1.weight'] == depths['fpn2.0.bias'] == (5, 6)


def test_initialization_loads_last(tmp_path):
    donor = ViTFPN(**TINY)
    for p in donor.parameters():
        nn.init.normal_(p)
    path = str(tmp_path / 'donor.pth')
    torch.save(donor.state_dict(), path)
    net = ViTFPN(**TINY, init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    for name, value in net.state_dict().items():
        assert torch.equal(value, donor.state_dict()[name]), name


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(num_heads=3), 'embed_dims=32 is not divisible by num_heads=3'),
        (dict(patch_size=14), 'patch_size 8 and 16, got 14'),
        (dict(out_indices=(1, 2, 3, 4)), r'out_indices=\(1, 2, 3, 4\) must lie in 0..3'),
        (dict(out_indices=(1, 2, 3)), 'four out_indices'),
        (dict(frozen_stages=5), r'frozen_stages=5 is outside \[-1, depth=4\]'),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        ViTFPN(**{**TINY, **changes})
    assert '\n' not in str(error.value)

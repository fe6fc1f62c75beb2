import pytest
import torch

from flsl_mm.models import ClassTokenViT, FLSLVisionTransformer, build_vit

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
SIZES = [(32, 32), (48, 32), (32, 32)]


@pytest.fixture(scope='module')
def vit():
    torch.manual_seed(0)
    vit = ClassTokenViT(ARCH, img_size=64)
    vit.init_weights()
    return vit.eval()


@pytest.fixture(scope='module')
def views():
    return [torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)) for size in SIZES]


def test_views_in_one_pass_are_the_views_one_by_one(vit, views):
    for view, tokens, with_class in zip(
        views, vit.forward_tokens(views), vit.forward_tokens(views, with_prefix=True)
    ):
        patches, prefix = vit.forward_features(view)
        assert prefix.shape == (2, 1, 32)
        torch.testing.assert_close(tokens, patches)
        torch.testing.assert_close(with_class, torch.cat([prefix, patches], dim=1))
        torch.testing.assert_close(vit(view)[0].flatten(2).transpose(1, 2), patches)


def test_the_class_token_takes_part_in_every_block(vit, views):
    plain = FLSLVisionTransformer(ARCH, img_size=64).eval()
    plain.load_state_dict({k: v for k, v in vit.state_dict().items() if k != 'cls_token'})
    assert not torch.allclose(plain.forward_tokens(views)[0], vit.forward_tokens(views)[0])


def test_its_checkpoint_is_read_with_the_class_token(vit, views, tmp_path):
    state = {f'backbone.{name}': value for name, value in vit.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'epoch_1.pth')
    read = build_vit(str(tmp_path / 'epoch_1.pth'), num_heads=2)
    assert read.num_prefix_tokens == 1
    for view in views:
        for found, expected in zip(read.forward_features(view), vit.forward_features(view)):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

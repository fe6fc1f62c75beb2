"""Random windows of the position tables of MAE and MoCo v3."""

import copy

import pytest
import torch

from flsl_mm.models.backbones import WindowedMAEViT, WindowedMoCoV3ViT
from flsl_mm.models.layers.positions import draw_windows, read_windows

ARCH = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[WindowedMAEViT, WindowedMoCoV3ViT])
def build(request):
    def build(window):
        torch.manual_seed(0)
        vit = request.param(
            arch=ARCH, img_size=32, patch_size=8, position_window=window, out_type='raw'
        )
        vit.init_weights()
        return vit

    return build


def with_positions(vit, images=IMAGES):
    """What enters the blocks, without the class token."""
    return vit.patch_embed(images)[0] + vit.pos_embed[:, 1:]


def test_in_training_each_image_reads_a_window_of_its_own(build):
    vit = build((0.25, 0.5))
    patches = with_positions(build(None)) - vit.pos_embed[:, 1:]
    torch.manual_seed(1)
    windows = draw_windows(3, (0.25, 0.5))
    torch.manual_seed(1)
    expected = patches + read_windows(vit.pos_embed[:, 1:], (4, 4), (4, 4), windows)
    vit.train()
    torch.testing.assert_close(with_positions(vit), expected)


def test_the_whole_table_and_evaluation_are_the_network_as_it_was(build):
    plain = with_positions(build(None))
    whole = build((1.0, 1.0))
    whole.train()
    torch.testing.assert_close(with_positions(whole), plain)
    windowed = build((0.25, 0.5))
    windowed.eval()
    assert torch.equal(with_positions(windowed), plain)
    assert windowed.state_dict().keys() == build(None).state_dict().keys()


def test_a_copy_follows_its_own_mode_and_table(build):
    vit = build((0.25, 0.5))
    vit.train()
    twin = copy.deepcopy(vit)
    twin.eval()
    assert torch.equal(with_positions(twin), with_positions(build(None)))
    twin.train()
    vit.pos_embed.data.zero_()  # the twin's is not
    torch.manual_seed(1)
    moved = with_positions(twin)
    torch.manual_seed(1)
    other = build((0.25, 0.5))
    torch.manual_seed(1)
    other.train()
    assert torch.equal(moved, with_positions(other))


def test_a_window_out_of_range_is_refused(build):
    with pytest.raises(ValueError, match='position_window must be None or'):
        build((0, 1))

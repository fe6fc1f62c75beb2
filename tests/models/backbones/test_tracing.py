"""torch.jit.trace of the backbones, at the size of the position table and at others."""

import pytest
import torch

from flsl_mm.models import FLSLVisionTransformer, ViTDet, ViTFPN

SMALL = dict(embed_dims=32, depth=2, num_heads=2)
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
BACKBONES = dict(
    plain=lambda: FLSLVisionTransformer(arch=ARCH, img_size=64),
    fpn=lambda: ViTFPN(img_size=64, out_indices=(0, 0, 1, 1), **SMALL),
    vitdet=lambda: ViTDet(
        img_size=64, pretrain_img_size=32, window_size=3, global_indices=(1,), **SMALL
    ),
)


@pytest.mark.parametrize('size', [(64, 64), (96, 64), (70, 50)])
@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.filterwarnings('ignore')
def test_a_traced_backbone_gives_the_same_maps(name, size):
    torch.manual_seed(0)
    backbone = BACKBONES[name]().eval()
    images = torch.rand(2, 2, 3, *size)
    with torch.no_grad():
        traced = torch.jit.trace(backbone, images[0])
        for found, expected in zip(traced(images[1]), backbone(images[1])):
            torch.testing.assert_close(found, expected)

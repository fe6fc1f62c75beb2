"""Networks of images with other channels than RGB, from weights for RGB."""

import pytest
import torch

from flsl_mm.checkpoint import load_pretrained
from flsl_mm.checkpoint.matching import adapt_channels
from flsl_mm.models import FLSLVisionTransformer, ViTDet, ViTFPN
from flsl_mm.utils.errors import CheckpointError, ConfigError

ARCH = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192)


def build_fpn(**options):
    return ViTFPN(32, 8, 48, 2, 3, (0, 0, 1, 1), norm_cfg=dict(type='BN'), **options)


def build_det(**options):
    sizes = dict(img_size=64, pretrain_img_size=32, window_size=2, global_indices=(1,))
    return ViTDet(embed_dims=48, depth=2, num_heads=3, out_channels=8, **sizes, **options)


BUILDERS = dict(
    pretraining=lambda **options: FLSLVisionTransformer(ARCH, 32, 8, **options),
    ViTFPN=build_fpn,
    ViTDet=build_det,
)


@pytest.mark.parametrize('name', BUILDERS)
def test_a_gray_image_gives_what_its_three_equal_channels_give(name):
    torch.manual_seed(0)
    color = BUILDERS[name]().eval()
    gray = BUILDERS[name](in_channels=1).eval()
    weights = color.state_dict()
    report = load_pretrained(gray, weights)
    if name != 'pretraining':  # the pyramid is not part of what is loaded
        rest = {k: v for k, v in weights.items() if not k.startswith('patch_embed')}
        gray.load_state_dict(rest, strict=False)
    assert 'sum of 3 channels' in str(report)
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        for found, wanted in zip(gray(image), color(image.expand(-1, 3, -1, -1)), strict=True):
            assert torch.allclose(found, wanted, atol=1e-4)


def test_detectors_train_on_gray_pictures(shrink_coco):
    pytest.importorskip('mmdet')
    from mmdet.registry import DATASETS
    from mmengine.registry import MODELS, init_default_scope

    cfg = shrink_coco('mask-rcnn_flsl-vits16_fpn_1x_coco')
    init_default_scope('mmdet')
    cfg.model.backbone.in_channels = 1
    cfg.model.data_preprocessor.update(mean=[114.0], std=[57.0], bgr_to_rgb=False)
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline[0].color_type = 'grayscale'
    sample = DATASETS.build(dataset)[0]
    assert sample['inputs'].shape[0] == 1
    model = MODELS.build(cfg.model)
    batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    losses = model(**model.data_preprocessor(batch, training=True), mode='loss')
    assert torch.isfinite(model.parse_losses(losses)[0])


@pytest.mark.parametrize('channels', [2, 4, 6, 7])
def test_several_channels_get_shares_of_the_same_size(channels):
    weight = torch.randn(5, 3, 8, 8)
    adapted = adapt_channels(weight, channels)
    assert adapted.shape == (5, channels, 8, 8)
    equal = torch.ones(1, 1, 8, 8)
    total = torch.nn.functional.conv2d(equal.expand(1, channels, 8, 8), adapted)
    if channels % 3 == 0:
        assert torch.allclose(total, torch.nn.functional.conv2d(equal.expand(1, 3, 8, 8), weight))
    assert torch.allclose(adapted[:, 0], weight[:, 0] * 3 / channels)
    with pytest.raises(CheckpointError, match='has 4 channels, the backbone 3'):
        adapt_channels(torch.randn(5, 4, 8, 8), 3)


def test_channels_and_patches_may_both_be_others():
    source = FLSLVisionTransformer(ARCH, 32, 16)
    gray = FLSLVisionTransformer(ARCH, 32, 8, in_channels=1)
    report = str(load_pretrained(gray, source.state_dict()))
    assert 'sum of 3 channels, pseudo-inverse of bicubic' in report


def test_a_trunk_has_three_channels():
    with pytest.raises(ConfigError, match='a trunk takes images of 3 channels'):
        build_fpn(trunk=dict(name='vit_tiny_patch16_224', family='timm'), in_channels=4)

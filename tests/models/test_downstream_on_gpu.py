"""Steps of detectors and segmentors on a GPU that is not there (``tests/fake_cuda.py``)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cuda import MASK, NUMBER, WRITE
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData

GPU = torch.device('cuda', 0)
CONFIGS = Path(__file__).parents[2] / 'configs'
SIDE = 128
DETECTORS = [
    'coco/mask-rcnn_flsl-vits16_fpn_1x_coco',
    'coco/mask-rcnn_flsl-vits8_fpn_1x_coco',
    'coco/mask-rcnn_flsl-vitb16_vitdet_100e_coco',
    'coco/mask-rcnn_dinov2-vits14-reg_fpn_1x_coco',
    'coco/mask-rcnn_dinov3-vits16_fpn_1x_coco',
    'coco/mask-rcnn_dinov3-vitb16_vitdet_100e_coco',
    'coco/faster-rcnn_flsl-vits16_fpn_1x_coco',
]
SEGMENTORS = [
    'ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512',
    'ade20k/sem-fpn_dinov2-vits14-reg_40k_ade20k-512x512',
    'ade20k/sem-fpn_dinov3-vits16_40k_ade20k-512x512',
    'ade20k/linear_flsl-vits16_10k_ade20k-512x512',
    'ade20k/linear_dinov3-vits16_10k_ade20k-512x512',
]
KNN = 'ade20k/knn_flsl-vits16_1e_ade20k-512x512'


def build(name, scope):
    """The model of a config on the device, without the weights of a file."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py').model
    init_default_scope(scope)
    from mmengine.registry import MODELS

    cfg.backbone.init_cfg = None
    # mmengine's own way to swap channels is a list of the host's as an index, a copy each image.
    cfg.data_preprocessor.update(bgr_to_rgb=False)
    if 'decode_head' in cfg and 'norm_cfg' in cfg.decode_head:
        cfg.decode_head.norm_cfg = dict(type='BN')  # of one process
    return MODELS.build(cfg).to(GPU).train()


def step(model, batch, fake_cuda):
    """A training step in bfloat16; its losses."""
    with torch.autocast('cuda', torch.bfloat16):
        data = model.data_preprocessor(batch, True)
        losses = model(**data, mode='loss')
    loss, losses = model.parse_losses(losses)
    fake_cuda.backward(loss)
    return losses


def check(model, losses):
    """Losses and gradients are where and of the type they have to be."""
    assert {(x.device, x.dtype) for x in losses.values()} == {(GPU, torch.float32)}
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained and all(p.grad.device == GPU and p.grad.dtype == p.dtype for p in trained)


@pytest.mark.parametrize('name', DETECTORS)
def test_a_detector_trains_and_its_maps_wait_for_nothing(name, fake_cuda):
    pytest.importorskip('mmdet')
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    model = build(name, 'mmdet')
    model.data_preprocessor.batch_augments = None  # to 1024 pixels
    boxes = torch.tensor([[8.0, 8, 72, 72], [40, 30, 120, 110]])
    samples = []
    for _ in range(2):
        shape = dict(img_shape=(SIDE, SIDE), batch_input_shape=(SIDE, SIDE), scale_factor=1.0)
        masks = BitmapMasks(np.zeros((2, SIDE, SIDE), np.uint8), SIDE, SIDE)
        truth = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]), masks=masks)
        samples.append(DetDataSample(metainfo=shape, gt_instances=truth))
    images = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)
    with torch.autocast('cuda', torch.bfloat16):
        pixels = images.float().to(GPU)
        assert not fake_cuda.waits(lambda: model.extract_feat(pixels))
    losses = {}
    batch = dict(inputs=list(images), data_samples=samples)
    fake_cuda.waits(lambda: losses.update(step(model, batch, fake_cuda)))  # mmdet's own are many
    check(model, losses)


def segmentation_batch():
    """Two images with their masks, on the host."""
    from mmseg.structures import SegDataSample

    shape = dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE))
    truth = PixelData(data=torch.zeros(1, SIDE, SIDE, dtype=torch.long))
    samples = [SegDataSample(metainfo=shape, gt_sem_seg=truth) for _ in range(2)]
    return dict(inputs=[torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)] * 2, data_samples=samples)


@pytest.mark.parametrize('name', SEGMENTORS)
def test_a_segmentor_waits_for_its_batch_and_for_mmsegs_accuracy(name, fake_cuda):
    pytest.importorskip('mmseg')
    model, batch, losses = build(name, 'mmseg'), segmentation_batch(), {}
    waits = fake_cuda.waits(lambda: losses.update(step(model, batch, fake_cuda)))
    # An image and a mask each go over; the accuracy of labelled pixels picks them twice.
    assert waits == {WRITE: 2 * 2, MASK: 2}
    check(model, losses)


def test_a_bank_of_tokens_is_filled_without_a_wait_and_asked_with_three(fake_cuda):
    pytest.importorskip('mmseg')
    model, batch, found = build(KNN, 'mmseg'), segmentation_batch(), {}
    assert fake_cuda.waits(lambda: found.update(step(model, batch, fake_cuda))) == {WRITE: 2 * 2}
    assert {(x.device, x.dtype) for x in found.values()} == {(GPU, torch.float32)}
    model.eval()
    tokens, votes = torch.zeros(2, 384, 8, 8).to(GPU), []
    waits = fake_cuda.waits(lambda: votes.append(model.decode_head([tokens])))
    assert waits == {NUMBER: 1, MASK: 2}  # whether any is labelled; these, and their labels
    assert votes[0].device == GPU and votes[0].shape == (2, 150, 8, 8)

"""Slow: detectors that learn four images by heart, to show that the whole path learns.

python -m pytest -m slow tests/configs/test_coco_overfit.py
"""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

pytest.importorskip('mmdet')
SIDE, CHANNELS, NUM_IMAGES = 256, 64, 4


@pytest.fixture
def few_images(shared_dir, tmp_path) -> Path:
    """Annotations of the four images with the largest objects on average."""
    path = shared_dir / 'data/coco/annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    areas: dict[int, list[float]] = {}
    for ann in content['annotations']:
        areas.setdefault(ann['image_id'], []).append(0 if ann['iscrowd'] else ann['area'])
    several = [i for i, found in areas.items() if len(found) >= 2 and min(found) > 32**2]
    kept = sorted(several, key=lambda i: -min(areas[i]))[:NUM_IMAGES]
    content['images'] = [i for i in content['images'] if i['id'] in kept]
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
    (tmp_path / 'few.json').write_text(json.dumps(content))
    return tmp_path / 'few.json'


def memorize(cfg: Config, few_images: Path, iterations: int) -> Config:
    """Train and evaluate a shrunk config on the same images, without augmentation."""
    resize = dict(type='Resize', scale=(SIDE, SIDE), keep_ratio=True)
    train, test = cfg.train_dataloader.dataset, cfg.val_dataloader.dataset
    train.pipeline = [*train.pipeline[:2], resize, train.pipeline[-1]]
    del train['indices']
    load, pack = (next(t for t in test.pipeline if t.type == name)
                  for name in ('LoadImageFromFile', 'PackDetInputs'))  # fmt: skip
    test.update(data_prefix=train.data_prefix, pipeline=[load, resize, pack])
    for part in (train, test, cfg.val_evaluator):
        part.ann_file = str(few_images)
    cfg.train_dataloader.batch_size = NUM_IMAGES

    narrow = dict(in_channels=CHANNELS, conv_out_channels=CHANNELS)
    model = cfg.model
    model.backbone.update(embed_dims=96, drop_path_rate=0.0)
    if model.neck:
        model.neck.update(in_channels=[96] * 4, out_channels=CHANNELS)
    else:
        model.backbone.out_channels = CHANNELS
    model.rpn_head.update(in_channels=CHANNELS, feat_channels=CHANNELS)
    model.roi_head.bbox_head.update(in_channels=CHANNELS, fc_out_channels=256)
    if 'conv_out_channels' in model.roi_head.bbox_head:
        model.roi_head.bbox_head.conv_out_channels = CHANNELS
    model.roi_head.mask_head.update(narrow)
    for part in ('bbox_roi_extractor', 'mask_roi_extractor'):
        model.roi_head[part].out_channels = CHANNELS
    model.train_cfg.rcnn.sampler.num = 64
    model.test_cfg.rcnn.update(score_thr=0.05, max_per_img=50)

    cfg.train_cfg.update(max_epochs=iterations, val_interval=iterations)
    cfg.default_hooks.logger.interval = 20
    cfg.default_hooks.checkpoint.interval = iterations
    cfg.auto_scale_lr.enable = False
    cfg.optim_wrapper.optimizer.update(lr=1e-3, weight_decay=0.0)
    cfg.optim_wrapper.paramwise_cfg.decay_rate = 1.0
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
        dict(type='MultiStepLR', by_epoch=True, milestones=[iterations * 3 // 4], gamma=0.1),
    ]
    cfg.pretrained = None
    return cfg


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    'name',
    [
        'mask-rcnn_flsl-vits16_fpn_1x_coco',
        'mask-rcnn_flsl-vitb16_vitdet_100e_coco',
        'mask-rcnn_dinov3-vits16_fpn_1x_coco',
    ],
)
def test_four_images_are_learnt_by_heart(name, shrink_coco, few_images, make_runner):
    runner = make_runner(memorize(shrink_coco(name, factor=4), few_images, iterations=400))
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert scalars['val/coco/bbox_mAP'].current() > 0.6
    assert scalars['val/coco/segm_mAP'].current() > 0.5

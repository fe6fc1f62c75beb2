"""A trained detector on a scene that is larger than a tile."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torchvision.ops import box_iou

pytest.importorskip('mmdet')
from flsl_mm.datasets import scenes  # noqa: E402

SIDE = 128  # of a tile, and of the crops that are trained on
COLUMNS, ROWS = 4, 3  # of scenes of 128 x 96 pixels
DETECTOR = """
_base_ = ['{root}/configs/coco/faster-rcnn_flsl-vits16_fpn_1x_coco.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        img_size=96,
        patch_size=8,
        embed_dims=96,
        depth=2,
        num_heads=3,
        out_indices=(0, 0, 1, 1),
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=[96] * 4, out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=28),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(max_per_img=20)),
)
load = dict(type='LoadImageFromFile')
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
annotated = dict(
    data_root='{data}', ann_file='annotations/instances.json', data_prefix=dict(img='images/')
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(
        **annotated,
        indices=[0] * 400,
        pipeline=[
            load,
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomCrop', crop_size=({side}, {side})),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = dict(
    dataset=dict(
        **annotated,
        pipeline=[
            load,
            dict(type='Resize', scale=({side}, {side}), keep_ratio=True),
            dict(type='PackDetInputs', meta_keys=keys),
        ],
    )
)
train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=4, milestones=[3], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(interval=4))
pretrained = None
work_dir = '{data}/run'
"""


def draw_large_scene(folder: Path) -> None:
    """Twelve drawn scenes side by side, with the boxes of their objects."""
    scenes.write_coco(folder, num_train=COLUMNS * ROWS, num_val=1, size=(128, 96))
    content = json.loads((folder / 'annotations/instances_train2017.json').read_text())
    large, objects = Image.new('RGB', (COLUMNS * 128, ROWS * 96)), []
    for number, image in enumerate(content['images']):
        corner = number % COLUMNS * 128, number // COLUMNS * 96
        large.paste(Image.open(folder / 'train2017' / image['file_name']), corner)
        for annotation in content['annotations']:
            if annotation['image_id'] == image['id']:
                x, y, *size = annotation['bbox']
                moved = dict(
                    id=len(objects) + 1, image_id=1, bbox=[x + corner[0], y + corner[1], *size]
                )
                kept = {k: annotation[k] for k in ('category_id', 'area', 'iscrowd')}
                objects.append(dict(moved, **kept))
    (folder / 'images').mkdir()
    large.save(folder / 'images/large.png')
    images = [dict(id=1, file_name='large.png', width=large.width, height=large.height)]
    text = json.dumps(dict(content, images=images, annotations=objects))
    (folder / 'annotations/instances.json').write_text(text)


def found_objects(folder: Path, out: Path) -> tuple[float, float]:
    """Shares of the objects that were found, and of what was found that are objects."""
    truth = json.loads((folder / 'annotations/instances.json').read_text())['annotations']
    found = json.loads((out / 'predictions.json').read_text())
    corners, labels = [], []
    for objects in (truth, found):
        boxes = torch.tensor([o['bbox'] for o in objects]).reshape(-1, 4)
        corners.append(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1))
        labels.append(np.array([o['category_id'] for o in objects], dtype=int))
    same = box_iou(*corners).numpy() >= 0.5
    same &= labels[0][:, None] == labels[1]
    return same.any(1).mean(), same.any(0).mean() if found else 0.0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_objects_of_a_large_scene_are_found_in_tiles(
    project_root, make_runner, load_tool, tmp_path
):
    """Whole, too, at its own size; shrunk to a tile the network finds next to nothing."""
    draw_large_scene(tmp_path)
    config = tmp_path / 'detector.py'
    config.write_text(DETECTOR.format(root=project_root, data=tmp_path, side=SIDE))
    make_runner(Config.fromfile(config)).train()

    def predict(name: str, *options: str) -> tuple[float, float]:
        files = config, tmp_path / 'run/epoch_4.pth', tmp_path / 'images', tmp_path / name
        arguments = [*map(str, files), '--score', '0.5', *options]
        assert load_tool('predict').main(arguments) == 0
        return found_objects(tmp_path, tmp_path / name)

    recall, precision = predict('tiles', '--tiles', str(SIDE), '--overlap', '0.3')
    assert recall > 0.7 and precision > 0.6
    at_its_size = (
        f'test_dataloader.dataset.pipeline.1.scale=({COLUMNS * 128},{ROWS * 96})',
        'model.test_cfg.rpn.max_per_img=400',
        'model.test_cfg.rcnn.max_per_img=100',
    )
    whole, _ = predict('whole', '--cfg-options', *at_its_size)
    shrunk, _ = predict('shrunk')
    assert whole > 0.5 and shrunk < 0.3

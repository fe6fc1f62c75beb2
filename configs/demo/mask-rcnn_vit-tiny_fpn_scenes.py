# Mask R-CNN on the scenes of tools/dataset_converters/make_scenes.py, in minutes without a GPU:
# the ViT of configs/pretrain/flsl_vit-tiny_demo.py, a narrow FPN and heads, images as they are.
#   --cfg-options pretrained=FILE        (None: random initialization)
_base_ = ['../coco/mask-rcnn_flsl-vits8_fpn_1x_coco.py']

pretrained = 'work_dirs/demo/flsl_seed0/epoch_10.pth'
classes = ('ball', 'crate', 'tent', 'tyre', 'starfish', 'chimney')
embed_dims, channels = 96, 64

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        img_size=96,  # of pretraining
        embed_dims=embed_dims,
        depth=2,
        num_heads=3,
        out_indices=(0, 0, 1, 1),
        drop_path_rate=0.0,
    ),
    neck=dict(in_channels=[embed_dims] * 4, out_channels=channels),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4]),  # 16 pixels on the finest map: objects are 20 to 60
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, finest_scale=28),
        mask_roi_extractor=dict(out_channels=channels, finest_scale=28),
        bbox_head=dict(in_channels=channels, fc_out_channels=256, num_classes=len(classes)),
        mask_head=dict(
            num_convs=2,
            in_channels=channels,
            conv_out_channels=channels,
            num_classes=len(classes),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=300, max_per_img=100),
        rcnn=dict(max_per_img=20),
    ),
)

load = dict(type='LoadImageFromFile')
annotations = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
train_pipeline = [
    load,
    annotations,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    load,
    dict(type='Resize', scale=(128, 96), keep_ratio=True),  # changes nothing; notes the scale, 1
    annotations,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

data_root = 'work_dirs/demo/scenes/coco/'
dataset = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**dataset, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**dataset, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=8, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[6], gamma=0.1),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=8, max_keep_ckpts=1))

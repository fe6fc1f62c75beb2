# A detector of mmdet's own, with an FLSL-pretrained ViT in place of its ResNet. This is a file of
# *your* project: it needs mmdet and an installed flsl_mm, no checkout of it.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['flsl_mm'])  # registers ViTFPN, ViTDet and PretrainedViT

embed_dims = 64
classes = ('ball', 'crate', 'tent', 'tyre', 'starfish', 'chimney')
pretrained = None  # your checkpoint, in any layout that flsl_mm reads; None: random weights

model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        _delete_=True,
        type='ViTFPN',
        img_size=96,
        patch_size=16,
        embed_dims=embed_dims,
        depth=4,
        num_heads=2,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='PretrainedViT', checkpoint=pretrained),
    ),
    neck=dict(in_channels=[embed_dims] * 4),
    roi_head=dict(bbox_head=dict(num_classes=len(classes))),
)

load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='Resize', scale=(192, 192), keep_ratio=True)
data = dict(data_root='data/scenes/coco/', metainfo=dict(classes=classes))
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        **data,
        data_prefix=dict(img='train2017/'),
        pipeline=[*load, resize, dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')],
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        **data,
        data_prefix=dict(img='val2017/'),
        pipeline=[*load, resize, dict(type='PackDetInputs')],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/scenes/coco/annotations/instances_val2017.json')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05),
)
train_cfg = dict(max_epochs=1)

# COCO 2017 with masks in data/coco (or a link of that name), or own data: docs/my_own_data.md.
# Training as in DETR: resized, or resized, cropped and resized; short side 480-800, long side at
# most 1333.
_base_ = ['mmdet::_base_/datasets/coco_instance.py']

data_root = 'data/coco'
train_ann_file = 'annotations/instances_train2017.json'
train_images = 'train2017/'
val_ann_file = 'annotations/instances_val2017.json'
val_images = 'val2017/'
# None: those of the annotation file, the heads follow. Some of them: [cat,dog]
classes = None
masks = True

resize = dict(
    type='RandomChoiceResize',
    scales=[(short, 1333) for short in range(480, 801, 32)],
    keep_ratio=True,
)
resize_before_crop = dict(resize, scales=[(short, 1333) for short in (400, 500, 600)])
crop = dict(
    type='RandomCrop',
    crop_type='absolute_range',
    crop_size=(384, 600),
    allow_negative_crop=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomChoice', transforms=[[resize], [resize_before_crop, crop, resize]]),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

dataset = dict(
    type='CheckedCocoDataset',
    data_root=data_root,
    metainfo={} if classes is None else dict(classes=classes),
)
train_dataloader = dict(
    batch_size=2,  # per process: 8 x 2 = 16
    dataset=dict(
        **dataset,
        ann_file=train_ann_file,
        data_prefix=dict(img=train_images),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file=val_ann_file,
        data_prefix=dict(img=val_images),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

# Of the annotation file of the data set.
val_evaluator = dict(
    type='StandardCocoMetric', ann_file=None, metric=['bbox', 'segm'] if masks else 'bbox'
)
test_evaluator = val_evaluator

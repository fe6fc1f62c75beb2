# COCO 2017 with masks in data/coco (or a link of that name). Training as in DETR: resized, or
# resized, cropped and resized; short side 480-800, long side at most 1333.
_base_ = ['mmdet::_base_/datasets/coco_instance.py']

data_root = 'data/coco'

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
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomChoice', transforms=[[resize], [resize_before_crop, crop, resize]]),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(
    batch_size=2,  # per process: 8 x 2 = 16
    dataset=dict(type='CheckedCocoDataset', data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(type='CheckedCocoDataset', data_root=data_root))
test_dataloader = dict(dataset=dict(type='CheckedCocoDataset', data_root=data_root))

# Of the annotation file of the data set.
val_evaluator = dict(type='StandardCocoMetric', ann_file=None)
test_evaluator = dict(type='StandardCocoMetric', ann_file=None)

# UAVDT detection in data/uavdt (or a link of that name). The full set: 24,143 frames to train,
# 16,592 to test; docs/uavdt.md says why, and how to select the papers' subset.
data_root = 'data/uavdt'

# Paper: 1072 x 528, whole patches of 16. Frames of 1024 x 540 become 1001 x 528 with their ratio
# kept; the right side is padded to whole patches in the data preprocessor.
resize = dict(type='Resize', scale=(1072, 528), keep_ratio=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    resize,
    dict(type='RandomFlip', prob=0.5),  # not in the paper: mmdetection's only augmentation
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    batch_size=2,  # per process: 8 x 2 = 16
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UAVDTDataset',
        data_root=data_root,
        split='train',
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='UAVDTDataset',
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

# Keep the detections in the official text format: --cfg-options test_evaluator.out_dir=RES_DET
val_evaluator = dict(type='UAVDTMetric')
test_evaluator = val_evaluator

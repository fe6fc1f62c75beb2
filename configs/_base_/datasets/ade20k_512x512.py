# ADE20K (SceneParsing challenge, 150 classes), in the folder that its archive unpacks to; or one's
# own masks in such folders, with classes=[NAMES] (docs/my_own_data.md).
# Scaled by 0.5-2.0 and cropped to 512 x 512; tested whole, with a short side of 512.
crop_size = (512, 512)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations'),  # after resizing: evaluated at the mask's own size
    dict(type='PackSegInputs'),
]

data_root = 'data/ade/ADEChallengeData2016'
# None: ADE20K's. Names of one's own, in the order of the masks' values 0, 1, 2, ...; with
# reduce_zero_label of 1, 2, ...: 0 is ignored.
classes = None
reduce_zero_label = False
dataset = dict(
    dict(type='CheckedADE20KDataset')
    if classes is None
    else dict(
        type='CheckedMaskDataset',
        metainfo=dict(classes=classes),
        reduce_zero_label=reduce_zero_label,
    ),
    data_root=data_root,
)
train_dataloader = dict(
    batch_size=2,  # per process: 8 x 2 = 16
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='ADE20KMetric')
test_evaluator = dict(type='ADE20KMetric', per_class=True)

_base_ = [
    '../_base_/models/linear_vits16.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/segmentation_adamw_40k.py',
]

pretrained = 'work_dirs/flsl_vits16_300e/epoch_300.pth'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='KNNSegHead',
        in_channels=384,
        bank_size=20210 * 16,  # every training image with as many tokens
        tokens_per_image=16,
        num_neighbors=20,
        temperature=0.07,
        in_index=0,
        num_classes=150,
    ),
)

# One pass over the training images, unchanged but for size, fills the bank; nothing is optimized.
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomResize', scale=(2048, 512), ratio_range=(1, 1), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(512, 512)),
            dict(type='PackSegInputs'),
        ]
    ),
)
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0))
auto_scale_lr = dict(enable=False)
param_scheduler = []
log_processor = dict(by_epoch=True)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1),
)

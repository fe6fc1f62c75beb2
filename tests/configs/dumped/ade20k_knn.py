auto_scale_lr = dict(base_batch_size=16, enable=False)
custom_imports = dict(
    allow_failed_imports=False,
    imports=[
        'flsl_mm',
        'flsl_mm.datasets.ade20k',
    ],
)
default_hooks = dict(
    checkpoint=dict(
        by_epoch=True, interval=1, max_keep_ckpts=3, type='mmpretrain.AtomicCheckpointHook'
    ),
    logger=dict(interval=50, log_metric_by_epoch=True, type='LoggerHook'),
    non_finite_loss=dict(type='mmpretrain.NonFiniteLossHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    runtime_info=dict(type='mmpretrain.DeferredLogHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='SegVisualizationHook'),
)
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
load_from = None
log_level = 'INFO'
log_processor = dict(by_epoch=True, type='LogProcessor', window_size=50)
model = dict(
    backbone=dict(
        arch='deit-small',
        frozen_stages=12,
        img_size=224,
        init_cfg=dict(key='teacher', type='PretrainedViT'),
        patch_size=16,
        type='mmpretrain.FLSLVisionTransformer',
    ),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_val=0,
        seg_pad_val=255,
        size=(
            512,
            512,
        ),
        std=[
            58.395,
            57.12,
            57.375,
        ],
        test_cfg=dict(size_divisor=16),
        type='SegDataPreProcessor',
    ),
    decode_head=dict(
        bank_size=323360,
        in_channels=384,
        in_index=0,
        num_classes=150,
        num_neighbors=20,
        temperature=0.07,
        tokens_per_image=16,
        type='KNNSegHead',
    ),
    neck=None,
    test_cfg=dict(mode='whole'),
    type='EncoderDecoder',
)
optim_wrapper = dict(optimizer=dict(lr=0.0, type='SGD'), type='OptimWrapper')
param_scheduler = []
pretrained = 'work_dirs/flsl_vits16_300e/epoch_300.pth'
randomness = dict(seed=0)
resume = False
runner_type = 'FLSLRunner'
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        data_root='data/ade/ADEChallengeData2016',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                keep_ratio=True,
                scale=(
                    2048,
                    512,
                ),
                type='Resize',
            ),
            dict(type='LoadADE20KLabels'),
            dict(type='PackSegInputs'),
        ],
        test_mode=True,
        type='CheckedADE20KDataset',
    ),
    num_workers=4,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(per_class=True, type='ADE20KMetric')
train_cfg = dict(max_epochs=1, type='EpochBasedTrainLoop', val_interval=1)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        data_root='data/ade/ADEChallengeData2016',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadADE20KLabels'),
            dict(
                keep_ratio=True,
                ratio_range=(
                    1,
                    1,
                ),
                scale=(
                    2048,
                    512,
                ),
                type='RandomResize',
            ),
            dict(
                crop_size=(
                    512,
                    512,
                ),
                type='RandomCrop',
            ),
            dict(type='PackSegInputs'),
        ],
        type='CheckedADE20KDataset',
    ),
    num_workers=4,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        data_root='data/ade/ADEChallengeData2016',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                keep_ratio=True,
                scale=(
                    2048,
                    512,
                ),
                type='Resize',
            ),
            dict(type='LoadADE20KLabels'),
            dict(type='PackSegInputs'),
        ],
        test_mode=True,
        type='CheckedADE20KDataset',
    ),
    num_workers=4,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_evaluator = dict(type='ADE20KMetric')
visualizer = dict(
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ],
)

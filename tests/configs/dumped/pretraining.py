auto_scale_lr = dict(base_batch_size=256, enable=False)
custom_imports = dict(
    allow_failed_imports=False,
    imports=[
        'flsl_mm',
    ],
)
default_hooks = dict(
    broken_images=dict(max_ratio=0.01, type='BrokenImagesHook'),
    checkpoint=dict(interval=10, max_keep_ckpts=2, type='AtomicCheckpointHook'),
    feature_maps=dict(images=None, interval=10, type='FeatureMapsHook'),
    freeze_prototypes=dict(epochs=1, type='FreezePrototypesHook'),
    frozen_evaluation=dict(interval=10, tasks=[], type='FrozenEvaluationHook'),
    logger=dict(interval=10, type='LoggerHook'),
    non_finite_loss=dict(type='NonFiniteLossHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    runtime_info=dict(type='mmpretrain.DeferredLogHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    schedule=dict(
        momentum=dict(end=1.0, start=0.98, target='momentum', type='cosine'),
        positional=dict(
            end=False, epochs=5, start=True, target='neck.positional_positives', type='step'
        ),
        teacher_temp=dict(
            end=0.04, epochs=30, start=0.04, target='head.teacher_temp', type='linear'
        ),
        type='ScheduleHook',
        weight_decay=dict(end=0.4, start=0.04, target='optimizer.weight_decay', type='cosine'),
    ),
    teacher_update=dict(type='TeacherUpdateHook'),
    throughput=dict(type='ThroughputHook'),
    timer=dict(type='IterTimerHook'),
)
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
load_from = None
log_level = 'INFO'
log_processor = dict(
    mean_pattern='.*(loss|time|images_per_second|prototypes_used|entropy_p_bar|max_p_t|attended_tokens|cos_token_mode).*',
    window_size=10,
)
model = dict(
    backbone=dict(
        arch=dict(embed_dims=96, feedforward_channels=384, num_heads=3, num_layers=2),
        drop_path_rate=0.0,
        img_size=96,
        patch_size=8,
        type='FLSLVisionTransformer',
    ),
    data_preprocessor=dict(
        local_views=dict(
            number=4,
            scale=(
                0.045,
                0.09,
            ),
            size=24,
        ),
        num_teacher_views=1,
        student_view=dict(
            scale=(
                0.08,
                0.16,
            ),
            size=32,
        ),
        type='MultiViewPreprocessor',
    ),
    head=dict(
        bottleneck_channels=64,
        hidden_channels=256,
        in_channels=96,
        loss_weights=dict(inter=1.0, intra=0.03, volume=5.0),
        num_layers=3,
        num_prototypes=64,
        student_temp=0.1,
        teacher_temp=0.04,
        type='FLSLHead',
    ),
    momentum=0.98,
    neck=dict(
        cross_scale=0.16666666666666666,
        positional_positives=True,
        self_scale=0.08333333333333333,
        type='MeanShiftNeck',
        window_sizes=dict({'global': 1, 'local': 1}),
    ),
    type='FLSL',
)
optim_wrapper = dict(
    clip_grad=dict(max_norm=3.0),
    constructor='TwoGroupConstructor',
    optimizer=dict(
        betas=(
            0.9,
            0.999,
        ),
        fused=True,
        lr=0.003,
        type='AdamW',
        weight_decay=0.04,
    ),
    precision='auto',
    type='FLSLOptimWrapper',
)
param_scheduler = dict(
    by_epoch=True, convert_to_iter_based=True, eta_min=1e-06, type='WarmupCosineLR', warmup=1
)
randomness = dict(seed=0)
resume = False
runner_type = 'FLSLRunner'
train_cfg = dict(max_epochs=10, type='ResumableTrainLoop')
train_dataloader = dict(
    batch_size=16,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        data_root='work_dirs/demo/scenes/imagenet',
        pipeline=[
            dict(type='LoadRGBImage'),
            dict(
                scale=(
                    0.8,
                    1.0,
                ),
                size=96,
                type='RandomTeacherCrop',
            ),
            dict(type='PackTeacherCrop'),
        ],
        type='UnlabeledImages',
    ),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    sampler=dict(type='ResumableSampler'),
)
visualizer = dict(
    type='Visualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ],
)

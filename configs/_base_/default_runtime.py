# What every pretraining run shares: runtime, log, checkpoints.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['flsl_mm'], allow_failed_imports=False)
runner_type = 'FLSLRunner'

default_hooks = dict(
    # Asks the GPU for the losses only to log them. With its scope: detection inherits this.
    runtime_info=dict(type='mmpretrain.DeferredLogHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='mmpretrain.TimedLoggerHook', interval=50, seconds=60),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

log_processor = dict(
    window_size=10,
    # Averaged over the window; everything else is logged as it is at that iteration.
    mean_pattern=r'.*(loss|time|images_per_second|prototypes_used|entropy_p_bar|max_p_t|'
    r'attended_tokens|cos_token_mode|place_share|matching_accuracy).*',
)

# JSON in work_dir/<time>/vis_data, and TensorBoard. For Weights & Biases in its place:
#   --cfg-options visualizer.vis_backends.1.type=WandbVisBackend
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Gloo where there is no GPU. Seconds that processes wait for one that works alone, as on a slow
    # disk.
    dist_cfg=dict(backend='nccl', timeout=3600),
)

# Everything random follows from this seed: two runs of a config see the same views.
randomness = dict(seed=0)

log_level = 'INFO'
load_from = None
resume = False

# What every pretraining with AdamW shares: loop, precision, scaled learning rate, safety.
_base_ = ['../default_runtime.py']

train_cfg = dict(type='ResumableTrainLoop', max_epochs=300)

optim_wrapper = dict(
    type='FLSLOptimWrapper',
    constructor='TwoGroupConstructor',  # no weight decay on biases and norms
    precision='auto',  # bfloat16 on GPUs that have it, float16 on others, float32 on a CPU
    optimizer=dict(type='AdamW', fused=True),
)

# Learning rates are for 256 images per optimizer step, and scale with their number.
auto_scale_lr = dict(enable=True, base_batch_size=256)

param_scheduler = dict(
    type='WarmupCosineLR',
    warmup=10,  # epochs, but at most a share of a shorter run
    warmup_share=0.1,
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)

# Named, so that a config can change one of them.
default_hooks = dict(
    checkpoint=dict(minutes=30),  # within an epoch; by epoch beside it
    non_finite_loss=dict(type='NonFiniteLossHook'),
    throughput=dict(type='ThroughputHook'),
    broken_images=dict(type='BrokenImagesHook', max_ratio=0.01),
)

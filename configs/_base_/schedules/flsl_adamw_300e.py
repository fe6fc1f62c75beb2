# FLSL's training recipe: paper Appendix E.2 [P]; authors' released code [C].
_base_ = ['../default_runtime.py']

train_cfg = dict(type='ResumableTrainLoop', max_epochs=300)

optim_wrapper = dict(
    type='FLSLOptimWrapper',
    constructor='TwoGroupConstructor',  # no weight decay on biases and norms
    precision='auto',  # bfloat16 on GPUs that have it, float16 on others, float32 on a CPU
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.04),
    clip_grad=dict(max_norm=3.0),  # each parameter by itself [C]
)

# The learning rate above is for 256 images per optimizer step, and scales with their number.
auto_scale_lr = dict(enable=True, base_batch_size=256)

param_scheduler = dict(
    type='WarmupCosineLR',
    warmup=10,  # epochs [P]; [C] warms up during a tenth of the run
    eta_min=1e-6,
    by_epoch=True,
    convert_to_iter_based=True,
)

# Named, so that a config can change one of them.
default_hooks = dict(
    schedule=dict(
        type='ScheduleHook',
        weight_decay=dict(target='optimizer.weight_decay', type='cosine', start=0.04, end=0.4),
        momentum=dict(target='momentum', type='cosine', start=0.996, end=1.0),
        teacher_temp=dict(
            target='head.teacher_temp', type='linear', start=0.04, end=0.07, epochs=30
        ),
        # Constant; here to be in the log beside the teacher's.
        student_temp=dict(target='head.student_temp', type='linear', start=0.1, end=0.1),
    ),
    teacher_update=dict(type='TeacherUpdateHook'),
    freeze_prototypes=dict(type='FreezePrototypesHook', epochs=1),  # [C]
    non_finite_loss=dict(type='NonFiniteLossHook'),
    throughput=dict(type='ThroughputHook'),
    broken_images=dict(type='BrokenImagesHook', max_ratio=0.01),
    feature_maps=dict(type='FeatureMapsHook', images=None, interval=10),  # off without images
)

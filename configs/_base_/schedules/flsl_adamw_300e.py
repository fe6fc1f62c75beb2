# FLSL's training recipe: paper Appendix E.2 [P]; authors' released code [C].
_base_ = ['./pretrain_adamw_300e.py']

optim_wrapper = dict(
    optimizer=dict(lr=5e-4, betas=(0.9, 0.999), weight_decay=0.04),
    clip_grad=dict(max_norm=3.0),  # each parameter by itself [C]
)

param_scheduler = dict(
    warmup=10,  # epochs [P]; the share is [C]'s, a tenth of the run
    eta_min=1e-6,
)

default_hooks = dict(
    schedule=dict(
        type='ScheduleHook',
        weight_decay=dict(target='optimizer.weight_decay', type='cosine', start=0.04, end=0.4),
        momentum=dict(target='momentum', type='cosine', start=0.996, end=1.0),
        teacher_temp=dict(
            target='head.teacher_temp', type='linear', start=0.04, end=0.07, epochs=30, share=0.3
        ),
    ),
    teacher_update=dict(type='TeacherUpdateHook'),
    freeze_prototypes=dict(type='FreezePrototypesHook', epochs=1, share=0.1),  # [C]
    feature_maps=dict(type='FeatureMapsHook', images=None, interval=10),  # off without images
    # k-NN where the training data have CLS-LOC boxes: of ImageNet 20,000 training and 5,000
    # validation images, on teacher and student.
    frozen_evaluation=dict(
        type='FrozenEvaluationHook',
        interval=10,
        tasks=[dict(type='BoxKNN', train_per_class=20, max_test_images=5000)],
    ),
)

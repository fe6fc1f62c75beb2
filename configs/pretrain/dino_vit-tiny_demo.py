# DINO with the network, views and budget of flsl_vit-tiny_demo.py.
_base_ = ['./flsl_vit-tiny_demo.py']

model = dict(
    type='DINO',
    neck=None,
    head=dict(
        _delete_=True,
        type='DINOHead',
        in_channels=96,
        num_prototypes=64,
        hidden_channels=256,
        bottleneck_channels=64,
    ),
)

# What a schedule of the base names in FLSL's neck is not there; the others are the base's.
default_hooks = dict(
    schedule=dict(
        _delete_=True,
        type='ScheduleHook',
        weight_decay={{_base_.default_hooks.schedule.weight_decay}},
        momentum={{_base_.default_hooks.schedule.momentum}},
        teacher_temp={{_base_.default_hooks.schedule.teacher_temp}},
    )
)

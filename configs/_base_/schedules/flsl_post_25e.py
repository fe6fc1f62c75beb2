# 25 epochs of FLSL from trained weights; not of the paper, which trains from scratch.
_base_ = ['./flsl_adamw_300e.py']

train_cfg = dict(max_epochs=25)

optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    constructor='LayerDecayConstructor',
    paramwise_cfg=dict(decay_rate=0.75),  # the head learns at lr, the last block at 0.75 of it, ...
)
param_scheduler = dict(warmup=1, eta_min=0.0)

default_hooks = dict(
    # The head has random weights at first: it learns alone until they no longer do harm.
    freeze_backbone=dict(type='FreezeBackboneHook', epochs=0.5, share=0.1),
    schedule=dict(weight_decay=None, teacher_temp=None),
    frozen_evaluation=dict(interval=5),
)

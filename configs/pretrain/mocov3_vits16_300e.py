# MoCo v3's recipe (Chen et al., 2021, Section 4.2), on FLSL's views.
_base_ = [
    '../_base_/models/mocov3_vit-s16.py',
    '../_base_/datasets/imagenet_views.py',
    '../_base_/schedules/pretrain_adamw_300e.py',
]

optim_wrapper = dict(optimizer=dict(lr=1.5e-4, weight_decay=0.1))
param_scheduler = dict(warmup=40, warmup_share=0.2)

# mmpretrain fixes the position embedding only after the model was wrapped for several processes.
find_unused_parameters = True

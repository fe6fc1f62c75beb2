# MAE's recipe (He et al., 2022, Table 8), on one crop of each image and without flips.
_base_ = [
    '../_base_/models/mae_vit-s16.py',
    '../_base_/datasets/imagenet_views.py',
    '../_base_/schedules/pretrain_adamw_300e.py',
]

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadRGBImage'),
            dict(type='RandomTeacherCrop', size=224, scale=(0.2, 1.0)),
            dict(type='PackTeacherCrop'),
        ]
    )
)

optim_wrapper = dict(optimizer=dict(lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05))
param_scheduler = dict(warmup=40, warmup_share=0.2)

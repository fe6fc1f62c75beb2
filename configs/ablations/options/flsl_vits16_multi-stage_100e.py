# Cross-attention mixed with that of an earlier run's teacher: train flsl_vits16_100e first.
_base_ = ['../../pretrain/flsl_vits16_100e.py']

model = dict(
    previous_teacher=dict(
        type='FLSLVisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        init_cfg=dict(
            type='PretrainedViT',
            checkpoint='work_dirs/ablations/flsl_vits16_100e/epoch_100.pth',
            key='teacher',
        ),
    ),
    data_preprocessor=dict(clean_views=True),
)

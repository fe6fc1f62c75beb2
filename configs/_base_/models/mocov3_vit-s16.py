# mmpretrain's MoCo v3 with DeiT's ViT-S/16, which has 6 heads as FLSL's; the publication's has 12.
# mmpretrain moves the momentum encoder in every iteration, also while gradients accumulate.
temperature = 0.2
mlp = dict(
    type='NonLinearNeck',
    hid_channels=4096,
    out_channels=256,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
)

model = dict(
    type='MoCoV3',
    base_momentum=0.01,  # share of the student in the first update; to 0 along a cosine
    backbone=dict(
        type='MoCoV3ViT', arch='deit-small', img_size=224, patch_size=16, stop_grad_conv1=True
    ),
    neck=dict(**mlp, in_channels=384, num_layers=3),
    head=dict(
        type='MoCoV3Head',
        predictor=dict(**mlp, in_channels=256, num_layers=2),
        loss=dict(type='CrossEntropyLoss', loss_weight=2 * temperature),
        temperature=temperature,
    ),
    # FLSL's teacher and student view; both go through both encoders.
    data_preprocessor=dict(
        type='MultiViewPreprocessor',
        student_view=dict(size=224, scale=(0.5, 1.0)),
        local_views=None,
    ),
)

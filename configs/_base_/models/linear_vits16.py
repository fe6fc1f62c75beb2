# One linear classifier on the frozen tokens of the last block, after the final LayerNorm.
_base_ = ['./sem-fpn_vits16.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.FLSLVisionTransformer',
        arch='deit-small',
        img_size=224,  # of pretraining
        patch_size=16,
        frozen_stages=12,
        init_cfg=dict(type='PretrainedViT', key='teacher'),
    ),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=384,
        channels=384,
        in_index=0,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
)

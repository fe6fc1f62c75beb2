_base_ = ['./faster-rcnn_flsl-vits16_fpn_1x_uavdt.py']

pretrained = 'work_dirs/flsl_vitb16_300e/epoch_300.pth'

model = dict(
    backbone=dict(embed_dims=768, num_heads=12),
    neck=dict(in_channels=[768] * 4),
)

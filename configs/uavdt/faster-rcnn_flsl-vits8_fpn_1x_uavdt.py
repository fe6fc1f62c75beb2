_base_ = ['./faster-rcnn_flsl-vits16_fpn_1x_uavdt.py']

pretrained = 'work_dirs/flsl_vits8_300e/epoch_300.pth'

model = dict(backbone=dict(patch_size=8))

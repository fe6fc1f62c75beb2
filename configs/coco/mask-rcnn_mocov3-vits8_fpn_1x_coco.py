_base_ = ['./mask-rcnn_flsl-vits8_fpn_1x_coco.py']

# MoCo v3 (Chen et al., ICCV 2021); its authors released none of this size: your own.
pretrained = 'checkpoints/mocov3_vits8.pth.tar'
# Its base encoder, which the authors evaluate, not the momentum encoder.
model = dict(backbone=dict(init_cfg=dict(key='student')))

_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

# MoCo v3 (Chen et al., ICCV 2021).
pretrained = 'checkpoints/vit-s-300ep.pth.tar'
# Its base encoder, which the authors evaluate, not the momentum encoder.
model = dict(backbone=dict(init_cfg=dict(key='student')))

_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

# MoCo v3 (Chen et al., ICCV 2021).
pretrained = 'checkpoints/vit-b-300ep.pth.tar'
# Its base encoder, which the authors evaluate, not the momentum encoder.
model = dict(backbone=dict(init_cfg=dict(key='student')))

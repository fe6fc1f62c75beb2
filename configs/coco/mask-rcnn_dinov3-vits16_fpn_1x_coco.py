_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

# DINOv3 (Simeoni et al., 2025).
pretrained = 'checkpoints/dinov3_vits16_pretrain_lvd1689m-08c60483.pth'

model = dict(backbone=dict(trunk=dict(name='vit_small_patch16_dinov3_qkvb', family='DINOv3')))

_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

# DINOv3 (Simeoni et al., 2025).
pretrained = 'checkpoints/dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth'

model = dict(
    backbone=dict(
        window_size=0,  # global attention in every block, as in pretraining
        trunk=dict(name='vit_base_patch16_dinov3_qkvb', family='DINOv3'),
    )
)

_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

# DINOv2 with registers (Darcet et al., ICLR 2024); its patches of 14 pixels are resized to 16.
pretrained = 'checkpoints/dinov2_vits14_reg4_pretrain.pth'

model = dict(
    backbone=dict(
        img_size=592,  # 37 x 37 patches: its table of positions
        trunk=dict(name='vit_small_patch14_reg4_dinov2', family='DINOv2 with registers'),
    )
)

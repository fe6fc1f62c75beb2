_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

# DINOv2 with registers (Darcet et al., ICLR 2024); its patches of 14 pixels are resized to 16.
pretrained = 'checkpoints/dinov2_vitb14_reg4_pretrain.pth'

model = dict(
    backbone=dict(
        window_size=0,  # global attention in every block, as in pretraining
        pretrain_img_size=592,  # 37 x 37 patches: its table of positions
        trunk=dict(name='vit_base_patch14_reg4_dinov2', family='DINOv2 with registers'),
    )
)

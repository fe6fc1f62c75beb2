_base_ = ['./linear_flsl-vits16_10k_ade20k-512x512.py']

# DINOv2 with registers (Darcet et al., ICLR 2024), with its own patches of 14 pixels.
pretrained = 'checkpoints/dinov2_vits14_reg4_pretrain.pth'

model = dict(
    data_preprocessor=dict(size=(518, 518), test_cfg=dict(size_divisor=14)),  # whole patches
    backbone=dict(
        _delete_=True,
        type='ViTMap',
        img_size=518,  # of pretraining
        patch_size=14,
        trunk=dict(name='vit_small_patch14_reg4_dinov2', family='DINOv2 with registers'),
        init_cfg=dict(type='PretrainedViT', key='teacher'),
    ),
)

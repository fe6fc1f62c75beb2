_base_ = ['./knn_flsl-vits16_1e_ade20k-512x512.py']

# DINOv3 (Simeoni et al., 2025).
pretrained = 'checkpoints/dinov3_vits16_pretrain_lvd1689m-08c60483.pth'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ViTMap',
        trunk=dict(name='vit_small_patch16_dinov3_qkvb', family='DINOv3'),
        init_cfg=dict(type='PretrainedViT', key='teacher'),
    ),
)

_base_ = ['./flsl_any_25e.py']

# DINOv3 (Simeoni et al., 2025).
pretrained = 'checkpoints/dinov3_vits16_pretrain_lvd1689m-08c60483.pth'

model = dict(data_preprocessor=dict(local_views=dict(size=96)))

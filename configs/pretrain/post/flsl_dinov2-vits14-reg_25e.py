_base_ = ['./flsl_any_25e.py']

# DINOv2 with registers (Darcet et al., ICLR 2024).
pretrained = 'checkpoints/dinov2_vits14_reg4_pretrain.pth'

model = dict(data_preprocessor=dict(local_views=dict(size=98)))

# FLSL with ViT-S/8: 784 tokens a view instead of 196.
_base_ = ['./flsl_vit-s16.py']

model = dict(backbone=dict(patch_size=8))

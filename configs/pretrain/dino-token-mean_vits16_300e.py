# DINO's objective on FLSL's own network. It has no class token: a view is the mean of its tokens.
_base_ = ['./dino_vits16_300e.py']

model = dict(backbone=dict(type='FLSLVisionTransformer'))

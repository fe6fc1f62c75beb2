# FLSL with ViT-B/16.
_base_ = ['./flsl_vit-s16.py']

embed_dims = 768

model = dict(
    backbone=dict(arch='deit-base'),
    # The release has no ViT-B; its rule 0.1 / sqrt(D) carried over.
    neck=dict(self_scale=0.1 / embed_dims**0.5, cross_scale=0.2 / embed_dims**0.5),
    head=dict(in_channels=embed_dims),
)

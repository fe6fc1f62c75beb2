# DINO with its class token: network, images, views and windows of flsl_photos.py.
_base_ = ['./flsl_photos.py']

embed_dims = 192
model = dict(
    type='DINO',
    backbone=dict(type='ClassTokenViT'),
    neck=None,
    head=dict(
        _delete_=True,
        type='DINOHead',
        in_channels=embed_dims,
        num_prototypes=512,
        hidden_channels=512,
        bottleneck_channels=128,
    ),
)

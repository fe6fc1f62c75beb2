# DINO with the network, views and budget of flsl_vit-tiny_demo.py.
_base_ = ['./flsl_vit-tiny_demo.py']

model = dict(
    type='DINO',
    neck=None,
    head=dict(
        _delete_=True,
        type='DINOHead',
        in_channels=128,
        num_prototypes=256,
        hidden_channels=256,
        bottleneck_channels=64,
    ),
)

# DINO on FLSL's views and teacher (Caron et al., 2021), with the class token of its paper.
_base_ = ['./flsl_vit-s16.py']

model = dict(
    type='DINO',
    backbone=dict(type='ClassTokenViT'),
    neck=None,
    head=dict(
        _delete_=True,
        type='DINOHead',
        in_channels={{_base_.embed_dims}},
        num_prototypes=65536,
        hidden_channels=2048,
        bottleneck_channels=256,
        num_layers=3,
        student_temp=0.1,
        teacher_temp=0.04,
        center_momentum=0.9,
    ),
)

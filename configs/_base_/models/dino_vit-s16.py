# DINO on FLSL's network, views and teacher (Caron et al., 2021): only the objective differs. A view
# is the mean of its tokens, as the network has no class token.
_base_ = ['./flsl_vit-s16.py']

model = dict(
    type='DINO',
    neck=None,
    head=dict(
        _delete_=True,
        type='DINOHead',
        in_channels=384,
        num_prototypes=65536,
        hidden_channels=2048,
        bottleneck_channels=256,
        num_layers=3,
        student_temp=0.1,
        teacher_temp=0.04,
        center_momentum=0.9,
    ),
)

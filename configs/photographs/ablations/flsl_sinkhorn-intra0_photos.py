_base_ = ['../flsl_photos.py']

model = dict(
    head=dict(teacher_norm='sinkhorn', loss_weights=dict(intra=0.0, inter=1.0, volume=1.0))
)

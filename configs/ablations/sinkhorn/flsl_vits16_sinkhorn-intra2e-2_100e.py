_base_ = ['../../pretrain/flsl_vits16_100e.py']

model = dict(
    head=dict(teacher_norm='sinkhorn', loss_weights=dict(intra=0.02, inter=1.0, volume=1.0))
)

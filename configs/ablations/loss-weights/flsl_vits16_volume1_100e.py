_base_ = ['../../pretrain/flsl_vits16_100e.py']

model = dict(head=dict(loss_weights=dict(volume=1.0)))

_base_ = ['../../pretrain/flsl_vits16_100e.py']

model = dict(head=dict(num_prototypes=1024))

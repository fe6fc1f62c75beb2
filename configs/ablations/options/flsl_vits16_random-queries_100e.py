_base_ = ['../../pretrain/flsl_vits16_100e.py']

model = dict(neck=dict(random_queries=True))

_base_ = ['../../pretrain/flsl_vits16_100e.py']

model = dict(neck=dict(window_sizes={'global': 4, 'local': 4}))

# Half of each student view's tokens, in 12 epochs: 0.95 of the time of flsl_vit-tiny_demo.py.
_base_ = ['../../pretrain/flsl_vit-tiny_demo.py']

model = dict(student_keep=0.5)
train_cfg = dict(max_epochs=12)
default_hooks = dict(schedule=dict(positional=dict(epochs=6)))

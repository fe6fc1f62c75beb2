# A quarter of each student view's tokens, in 13 epochs: 0.98 of the time of flsl_vit-tiny_demo.py.
_base_ = ['../../pretrain/flsl_vit-tiny_demo.py']

model = dict(student_keep=0.25)
train_cfg = dict(max_epochs=13)
default_hooks = dict(schedule=dict(positional=dict(epochs=6)))

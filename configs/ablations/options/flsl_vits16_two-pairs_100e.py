# The views of the paper's text: two (teacher, student) pairs and no local views.
_base_ = ['../../pretrain/flsl_vits16_two-pairs_300e.py']

train_cfg = dict(max_epochs=100)

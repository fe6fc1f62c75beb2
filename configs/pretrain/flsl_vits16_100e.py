# The schedule of the paper's ablations.
_base_ = ['./flsl_vits16_300e.py']

train_cfg = dict(max_epochs=100)

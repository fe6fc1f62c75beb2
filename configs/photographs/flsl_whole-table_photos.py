# Without windows of the position table.
_base_ = ['./flsl_photos.py']

model = dict(backbone=dict(position_window=None))

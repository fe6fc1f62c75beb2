# Positives by cross-attention (Eq. 12) from the start.
_base_ = ['../flsl_photos.py']

model = dict(neck=dict(positional_positives=False))

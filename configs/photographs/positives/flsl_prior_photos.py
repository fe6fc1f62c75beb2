# Cross-attention with a Gaussian prior of place, two tokens wide.
_base_ = ['../flsl_photos.py']

model = dict(neck=dict(positional_positives=False, place_width=2.0))

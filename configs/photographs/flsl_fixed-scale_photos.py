# The scale of the first trials instead of the one that finds itself: the largest logit near 8.
_base_ = ['./flsl_photos.py']

embed_dims = 192
model = dict(neck=dict(self_scale=8 / embed_dims, cross_scale=16 / embed_dims))

# The paper's objective, views (in relation to the teacher's) and windows of queries, and the
# release's largest logit: cross-attention from the start, the whole position table.
_base_ = ['./flsl_photos.py']

embed_dims = 192
model = dict(
    backbone=dict(position_window=None),
    neck=dict(
        self_scale=2 / embed_dims,
        cross_scale=4 / embed_dims,
        window_sizes={'global': 2, 'local': 2},
        positional_positives=False,
    ),
    data_preprocessor=dict(
        student_view=dict(size=96, scale=(0.5, 1.0)),
        local_views=dict(number=2, size=40, scale=(0.05, 0.4)),
    ),
)

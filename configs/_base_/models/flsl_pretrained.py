# FLSL on a network of a file; its design, pixels and weights are those of `pretrained`.
_base_ = ['./flsl_vit-s16.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='PretrainedNetwork',
        init_cfg=dict(type='PretrainedViT'),
        trained_blocks=None,  # all; a number n trains the last n alone, in less memory and time
    ),
    # Token norms of other networks differ by factors: no fixed scale fits them.
    # Positives by position (Section 4.2) kept more of a trained network than the paper's
    # cross-attention did: docs/post_training.md
    neck=dict(self_scale='auto', cross_scale=None, parted=True, positional_positives=True),
    head=dict(_delete_=True, type='FLSLHead', num_prototypes=4096),
    # 224 and 112 pixels are whole patches of 8 (112 / 8 = 14), of 14 and of 16.
    data_preprocessor=dict(local_views=dict(size=112)),
)

# Positives by position in two of the three passes, by cross-attention (Eq. 12) in the last.
_base_ = ['../flsl_photos.py']

default_hooks = dict(
    schedule=dict(
        positional=dict(
            target='neck.positional_positives', type='step', start=True, end=False, epochs=2
        )
    )
)

# Section 4.2: at first the positive of a query is the teacher's feature at its position.
_base_ = ['../../pretrain/flsl_vits16_100e.py']

default_hooks = dict(
    schedule=dict(
        positional=dict(
            target='neck.positional_positives', type='step', start=True, end=False, epochs=10
        )
    )
)

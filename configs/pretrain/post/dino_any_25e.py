# DINO's objective on the same network, views and schedules: what FLSL's is compared with.
_base_ = ['./flsl_any_25e.py']

model = dict(
    type='DINO',
    neck=None,
    head=dict(_delete_=True, type='DINOHead', num_prototypes=65536),
)

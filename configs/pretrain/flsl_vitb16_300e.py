_base_ = [
    '../_base_/models/flsl_vit-b16.py',
    '../_base_/datasets/imagenet_views.py',
    '../_base_/schedules/flsl_adamw_300e.py',
]

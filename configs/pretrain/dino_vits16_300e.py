# The recipe of FLSL, which is that of DINO: optimizer, schedules, teacher.
_base_ = [
    '../_base_/models/dino_vit-s16.py',
    '../_base_/datasets/imagenet_views.py',
    '../_base_/schedules/flsl_adamw_300e.py',
]

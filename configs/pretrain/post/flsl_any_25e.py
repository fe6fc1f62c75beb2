# FLSL on top of any ViT: --cfg-options pretrained=FILE. Step by step: docs/post_training.md
_base_ = [
    '../../_base_/models/flsl_pretrained.py',
    '../../_base_/datasets/imagenet_views.py',
    '../../_base_/schedules/flsl_post_25e.py',
]
pretrained = None

# Mask R-CNN with ViT-S/8 and FPN.
_base_ = ['./mask-rcnn_vits16_fpn.py']

model = dict(backbone=dict(patch_size=8))

_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

# Supervised on ImageNet: a timm model.
pretrained = 'checkpoints/deit_small_patch16_224.safetensors'

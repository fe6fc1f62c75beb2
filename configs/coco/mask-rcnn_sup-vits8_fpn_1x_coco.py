_base_ = ['./mask-rcnn_flsl-vits8_fpn_1x_coco.py']

# Supervised on ImageNet: a timm model; its authors released none of this size: your own.
pretrained = 'checkpoints/vit_small_patch8_224.safetensors'

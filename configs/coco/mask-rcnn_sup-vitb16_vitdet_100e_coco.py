_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

# Supervised on ImageNet: a timm model.
pretrained = 'checkpoints/deit_base_patch16_224.safetensors'

_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

# DINO (Caron et al., ICCV 2021).
pretrained = 'checkpoints/dino_deitsmall16_pretrain.pth'

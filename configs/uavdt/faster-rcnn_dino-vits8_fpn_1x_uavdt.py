_base_ = ['./faster-rcnn_flsl-vits8_fpn_1x_uavdt.py']

# DINO (Caron et al., ICCV 2021).
pretrained = 'checkpoints/dino_deitsmall8_pretrain.pth'

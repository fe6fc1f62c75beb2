_base_ = ['./faster-rcnn_flsl-vitb16_fpn_1x_uavdt.py']

# DINO (Caron et al., ICCV 2021).
pretrained = 'checkpoints/dino_vitbase16_pretrain.pth'

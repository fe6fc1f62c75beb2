_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

# DINO (Caron et al., ICCV 2021).
pretrained = 'checkpoints/dino_vitbase16_pretrain.pth'

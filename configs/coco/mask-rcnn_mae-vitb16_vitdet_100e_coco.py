_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

# MAE (He et al., CVPR 2022).
pretrained = 'checkpoints/mae_pretrain_vit_base.pth'

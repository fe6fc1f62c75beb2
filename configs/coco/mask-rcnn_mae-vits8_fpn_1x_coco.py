_base_ = ['./mask-rcnn_flsl-vits8_fpn_1x_coco.py']

# MAE (He et al., CVPR 2022); its authors released none of this size: your own.
pretrained = 'checkpoints/mae_pretrain_vit_small_p8.pth'

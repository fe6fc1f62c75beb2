_base_ = ['./sem-fpn_flsl-vits16_40k_ade20k-512x512.py']

# MAE (He et al., CVPR 2022); its authors released none of this size: your own.
pretrained = 'checkpoints/mae_pretrain_vit_small_p16.pth'

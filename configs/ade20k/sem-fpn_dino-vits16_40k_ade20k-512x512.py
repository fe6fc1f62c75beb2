_base_ = ['./sem-fpn_flsl-vits16_40k_ade20k-512x512.py']

# DINO (Caron et al., ICCV 2021).
pretrained = 'checkpoints/dino_deitsmall16_pretrain.pth'

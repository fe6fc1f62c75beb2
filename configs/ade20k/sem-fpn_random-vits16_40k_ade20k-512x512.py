_base_ = ['./sem-fpn_flsl-vits16_40k_ade20k-512x512.py']

pretrained = None

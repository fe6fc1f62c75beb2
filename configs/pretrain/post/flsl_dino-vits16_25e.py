_base_ = ['./flsl_any_25e.py']

# DINO (Caron et al., ICCV 2021).
pretrained = 'checkpoints/dino_deitsmall16_pretrain.pth'

model = dict(data_preprocessor=dict(local_views=dict(size=96)))

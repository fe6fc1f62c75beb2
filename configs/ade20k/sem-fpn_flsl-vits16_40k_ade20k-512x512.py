_base_ = [
    '../_base_/models/sem-fpn_vits16.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/segmentation_adamw_40k.py',
]

# Any ViT-S/16 in a layout of docs/checkpoints.md. Override with
#   --cfg-options pretrained=FILE        (None: random initialization)
pretrained = 'work_dirs/flsl_vits16_300e/epoch_300.pth'

model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))  # smaller crops are padded

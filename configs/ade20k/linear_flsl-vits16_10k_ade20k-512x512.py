_base_ = [
    '../_base_/models/linear_vits16.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/segmentation_adamw_40k.py',
]

pretrained = 'work_dirs/flsl_vits16_300e/epoch_300.pth'

model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))  # smaller crops are padded

max_iters = 10000
warmup_iters = max(1, min(500, max_iters // 10))
train_cfg = dict(max_iters=max_iters, val_interval=max(1, max_iters // 2))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]

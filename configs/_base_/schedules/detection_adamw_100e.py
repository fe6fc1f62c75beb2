# 100 epochs with AdamW and layer-wise decay: ViTDet's schedule (Li et al., ECCV 2022).
_base_ = ['./detection_adamw_1x.py']

max_epochs = 100
warmup_iters = 250
train_cfg = dict(max_epochs=max_epochs, val_interval=5)

optim_wrapper = dict(
    optimizer=dict(weight_decay=0.1),
    paramwise_cfg=dict(decay_rate=0.7),
)

# The learning rate is for 64 images per optimizer step.
auto_scale_lr = dict(base_batch_size=64)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup_iters),
    # 8/9 and 19/20 of the run, in whole epochs.
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        milestones=[round(max_epochs * 8 / 9), round(max_epochs * 19 / 20)],
        gamma=0.1,
    ),
]

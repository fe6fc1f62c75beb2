# 12 epochs with SGD for Faster R-CNN on UAVDT: paper Section 5.
_base_ = ['../detection_runtime.py']

# No validation set is defined: the test set is evaluated once, at the end, and selects nothing.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=12)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The paper gives no learning rate: mmdetection's for SGD and 16 images.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    # Not in the paper: SGD has no bound of its own on the first, large steps of a transformer.
    # 35 is mmdetection's usual bound, far above gradients in regular training.
    clip_grad=dict(max_norm=35, norm_type=2),
)

# The learning rate above is for 16 images per optimizer step, and scales with their number.
auto_scale_lr = dict(enable=True, base_batch_size=16)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=300),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8], gamma=0.1),
]

# 12 epochs with AdamW for ViT-S detectors: paper Section 5 and Appendix G.
_base_ = ['../detection_runtime.py']

max_epochs = 12  # the steps of the learning rate follow
warmup_iters = 1000
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='LayerDecayConstructor',  # no weight decay on norms, biases and positions
    paramwise_cfg=dict(decay_rate=1.0),  # the same learning rate in all layers
)

# The learning rate above is for 16 images per optimizer step, and scales with their number.
auto_scale_lr = dict(enable=True, base_batch_size=16)

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup_iters),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        milestones=[round(max_epochs * 2 / 3), round(max_epochs * 11 / 12)],
        gamma=0.1,
    ),
]

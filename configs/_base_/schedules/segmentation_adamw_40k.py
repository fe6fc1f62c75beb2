# 40k iterations with AdamW, the learning rate falling linearly: paper Section 5.
_base_ = ['../segmentation_runtime.py']

max_iters = 40000  # warm-up, validation and the fall of the learning rate follow
warmup_iters = max(1, min(1500, max_iters // 10))
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max(1, max_iters // 10)
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    constructor='LayerDecayConstructor',  # no weight decay on norms and positions
    # The same learning rate in all layers; biases decay like matrices.
    paramwise_cfg=dict(decay_rate=1.0, bias_decay_mult=1.0),
)

# The learning rate above is for 16 images per optimizer step, and scales with their number.
auto_scale_lr = dict(enable=True, base_batch_size=16)

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]

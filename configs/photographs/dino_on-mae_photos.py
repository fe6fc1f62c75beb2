# DINO for two passes on top of MAE's network with its class token, as flsl_on-mae_photos.py does.
_base_ = ['./dino_photos.py']

pretrained = 'work_dirs/photographs/mae_photos_seed0/epoch_6.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='PretrainedNetwork',
        position_window=(0.25, 1.0),
        init_cfg=dict(type='PretrainedViT'),
    ),
)
train_cfg = dict(max_epochs=2)
default_hooks = dict(freeze_backbone=dict(type='FreezeBackboneHook', epochs=0.3, share=0.1))

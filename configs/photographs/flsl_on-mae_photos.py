# FLSL for two passes on top of MAE's network (mae_photos.py), which is first updated when the head
# no longer is random.
_base_ = ['./flsl_photos.py']

pretrained = 'work_dirs/photographs/mae_photos_seed0/epoch_6.pth'
model = dict(backbone=dict(init_cfg=dict(type='PretrainedViT')))
train_cfg = dict(max_epochs=2)
default_hooks = dict(freeze_backbone=dict(type='FreezeBackboneHook', epochs=0.3, share=0.1))

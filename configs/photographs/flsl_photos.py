# The recipe of photographs on the short budget of the study (docs/photographs.md): three passes
# over some ten thousand images. Other configs of this folder differ from it as their names say.
_base_ = ['../pretrain/flsl_vit-small-photos.py']

data_root = 'data/photographs/pretrain'
train_dataloader = dict(persistent_workers=False, dataset=dict(data_root=data_root))

train_cfg = dict(max_epochs=3)
param_scheduler = dict(warmup=0.1)

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
    freeze_prototypes=dict(epochs=0.1),
)

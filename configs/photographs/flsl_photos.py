# The recipe of photographs on the short budget of the study (docs/photographs.md): one pass over
# some ten thousand images. Every other config of this folder differs from it as its name says.
_base_ = ['../pretrain/flsl_vit-small-photos.py']

data_root = 'data/photographs/pretrain'
train_dataloader = dict(batch_size=16, persistent_workers=False, dataset=dict(data_root=data_root))

train_cfg = dict(max_epochs=1)
optim_wrapper = dict(precision='bfloat16')  # half the time of float32 on CPUs that have it
param_scheduler = dict(warmup=0.1)

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
    freeze_prototypes=dict(epochs=0.1),
)

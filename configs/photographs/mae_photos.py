# MAE (He et al., 2022) with the same network and images; a decoder of 2 blocks, 96 wide.
_base_ = ['../pretrain/mae_vits16_300e.py']

embed_dims, decoder_dims = 192, 96
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=embed_dims,
            num_layers=4,
            num_heads=3,
            feedforward_channels=4 * embed_dims,
        ),
        img_size=96,
        patch_size=8,
    ),
    neck=dict(
        num_patches=144,
        patch_size=8,
        embed_dim=embed_dims,
        decoder_embed_dim=decoder_dims,
        decoder_depth=2,
        decoder_num_heads=3,
    ),
    head=dict(patch_size=8),
)

data_root = 'data/photographs/pretrain'
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='LoadRGBImage', min_side=248),
            dict(type='RandomTeacherCrop', size=96, scale=(0.2, 1.0)),
            dict(type='PackTeacherCrop'),
        ],
    ),
)

train_cfg = dict(max_epochs=6)  # of less than half the time of flsl_photos.py each
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = dict(warmup=0.6)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1, max_keep_ckpts=1))

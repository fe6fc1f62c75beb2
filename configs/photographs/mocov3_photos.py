# MoCo v3 (Chen et al., 2021) with the same network and images; views of 0.3 to 1 of the image.
_base_ = ['../pretrain/mocov3_vits16_300e.py']

embed_dims = 192
mlp = dict(hid_channels=512, out_channels=128)
model = dict(
    base_momentum=0.02,
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=embed_dims,
            num_layers=4,
            num_heads=3,
            feedforward_channels=4 * embed_dims,
        ),
        img_size=64,
        patch_size=8,
    ),
    neck=dict(**mlp, in_channels=embed_dims),
    head=dict(predictor=dict(**mlp, in_channels=128)),
    data_preprocessor=dict(student_view=dict(size=64, scale=(0.3, 1.0))),
)

data_root = 'data/photographs/pretrain'
train_dataloader = dict(
    batch_size=32,  # the negatives of a query are the other images
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='LoadRGBImage', min_side=136),
            dict(type='RandomTeacherCrop', size=64, scale=(0.3, 1.0)),
            dict(type='PackTeacherCrop'),
        ],
    ),
)

train_cfg = dict(max_epochs=3)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = dict(warmup=0.3)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1, max_keep_ckpts=1))

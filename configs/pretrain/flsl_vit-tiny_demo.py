# A ViT that trains in minutes without a GPU: 64-pixel views, 64 tokens, 128 wide, 4 blocks.
# The release's scales would make the whole view one cluster at this width (paper's Eq. 4 with the
# largest logit near D * scale = 1.3); these attend to a few tokens.
_base_ = ['./flsl_vits16_300e.py']

embed_dims = 128

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,  # the base has a name
            embed_dims=embed_dims,
            num_layers=4,
            num_heads=4,
            feedforward_channels=512,
        ),
        img_size=64,
        patch_size=8,
        drop_path_rate=0.0,
    ),
    neck=dict(self_scale=0.06, cross_scale=0.12),
    head=dict(
        in_channels=embed_dims, num_prototypes=256, hidden_channels=256, bottleneck_channels=64
    ),
    data_preprocessor=dict(
        student_view=dict(size=64), local_views=dict(number=2, size=32, scale=(0.1, 0.4))
    ),
    momentum=0.98,
)

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root='work_dirs/demo/scenes',
        pipeline=[
            dict(type='LoadRGBImage'),
            dict(type='RandomTeacherCrop', size=64, scale=(0.8, 1.0)),
            dict(type='PackTeacherCrop'),
        ],
    ),
)

train_cfg = dict(max_epochs=16)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = dict(warmup=2)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=5, max_keep_ckpts=2),
    schedule=dict(momentum=dict(start=0.98), teacher_temp=dict(epochs=10)),
)

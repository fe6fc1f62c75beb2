# A ViT that trains in about a minute without a GPU, for `make demo`: 96 wide, 2 blocks, patches of
# 8 pixels, 144 tokens of the teacher's view.
_base_ = ['./flsl_vits16_300e.py']

embed_dims = 96

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,  # the base has a name
            embed_dims=embed_dims,
            num_layers=2,
            num_heads=3,
            feedforward_channels=4 * embed_dims,
        ),
        img_size=96,
        patch_size=8,
        drop_path_rate=0.0,
    ),
    neck=dict(
        # The release's scales would make the whole view one cluster at this width (paper's Eq. 4
        # with the largest logit near D * scale = 0.5); with 8 a query attends to a few tokens.
        self_scale=8 / embed_dims,
        cross_scale=16 / embed_dims,
        window_sizes={'global': 1, 'local': 1},  # every token of these small views is a query
        positional_positives=True,  # at first, see `schedule`
    ),
    head=dict(
        in_channels=embed_dims, num_prototypes=64, hidden_channels=256, bottleneck_channels=64
    ),
    # Small views, at the resolution of the image. In a large one the place in the student's view
    # tells the place in the teacher's, and a run this short learns positions instead of things.
    data_preprocessor=dict(
        student_view=dict(size=32, scale=(0.08, 0.16)),
        local_views=dict(number=4, size=24, scale=(0.045, 0.09)),
    ),
    momentum=0.98,
)

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        data_root='work_dirs/demo/scenes/imagenet',
        pipeline=[
            dict(type='LoadRGBImage'),
            dict(type='RandomTeacherCrop', size=96, scale=(0.8, 1.0)),
            dict(type='PackTeacherCrop'),
        ],
    ),
)

train_cfg = dict(max_epochs=10)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
auto_scale_lr = dict(enable=False)
param_scheduler = dict(warmup=1)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=10, max_keep_ckpts=2),
    frozen_evaluation=dict(tasks=[]),  # the demo evaluates when all networks are trained
    schedule=dict(
        momentum=dict(start=0.98),
        teacher_temp=dict(end=0.04),
        # Section 4.2: random weights do not find a query's positive by similarity.
        positional=dict(
            target='neck.positional_positives', type='step', start=True, end=False, epochs=5
        ),
    ),
)

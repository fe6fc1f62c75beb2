# A ViT between the demo's and ViT-S that trains on some thousand photographs without a GPU:
# 192 wide, 4 blocks, patches of 8 pixels. What is behind it: docs/photographs.md
_base_ = ['./flsl_vits16_300e.py']

embed_dims = 192

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,  # the base has a name
            embed_dims=embed_dims,
            num_layers=4,
            num_heads=3,
            feedforward_channels=4 * embed_dims,
        ),
        img_size=96,
        patch_size=8,
        drop_path_rate=0.0,
        # In a view that shows most of the teacher's, the place in the grid tells the place there;
        # without windows tokens become codes of it (the log's `place_share`).
        position_window=(0.25, 1.0),
    ),
    neck=dict(
        self_scale='auto',  # no scale of another width fits this one
        cross_scale=None,
        window_sizes={'global': 1, 'local': 1},  # every token of these small views is a query
        positional_positives=True,  # Section 4.2, here to the end
    ),
    head=dict(
        in_channels=embed_dims, num_prototypes=512, hidden_channels=512, bottleneck_channels=128
    ),
    data_preprocessor=dict(
        student_view=dict(size=64, scale=(0.3, 0.7)),
        local_views=dict(number=2, size=32, scale=(0.08, 0.2)),
    ),
    momentum=0.98,
)

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    pin_memory=False,
    dataset=dict(
        pipeline=[
            dict(type='LoadRGBImage', min_side=128),
            dict(type='RandomTeacherCrop', size=96, scale=(0.8, 1.0)),
            dict(type='PackTeacherCrop'),
        ],
    ),
)

train_cfg = dict(max_epochs=6)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
auto_scale_lr = dict(enable=False)
param_scheduler = dict(warmup=1, warmup_share=0.2)

default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=2),
    frozen_evaluation=dict(tasks=[]),
    schedule=dict(momentum=dict(start=0.98), teacher_temp=dict(end=0.04)),
)

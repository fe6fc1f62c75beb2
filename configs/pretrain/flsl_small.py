# FLSL on a folder of your own images, on one GPU or a CPU; docs/own_images.md shows the way:
#   --cfg-options data_root=/my/images
# What is 'auto' follows from the number of images, their size and the device; the log has a table
# of what was chosen, the work dir's config the values. Give any of them yourself and it stays.
_base_ = ['./flsl_vit-small-photos.py']

data_root = 'data/images'

model = dict(
    backbone=dict(arch='auto', img_size='auto', patch_size='auto'),
    head=dict(num_prototypes='auto'),  # its width follows the backbone
    data_preprocessor=dict(student_view=dict(size='auto'), local_views=dict(size='auto')),
    momentum='auto',
)

train_dataloader = dict(
    batch_size='auto',
    num_workers='auto',
    dataset=dict(
        data_root=data_root,
        pipeline=[
            dict(type='LoadRGBImage', min_side='auto'),
            dict(type='RandomTeacherCrop', size='auto', scale=(0.8, 1.0)),
            dict(type='PackTeacherCrop'),
        ],
    ),
)

train_cfg = dict(max_epochs='auto')
optim_wrapper = dict(optimizer=dict(lr='auto'))
param_scheduler = dict(warmup=10, warmup_share=0.1)

default_hooks = dict(
    logger=dict(interval='auto'),
    checkpoint=dict(interval='auto'),
    schedule=dict(momentum=dict(start='auto')),
)

# Unlabelled images: ImageNet, or any folder of images:
#   --cfg-options data_root=/my/images
data_root = 'data/imagenet'
train_dataloader = dict(
    batch_size=64,  # per process: 8 x 64 = 512 in the paper
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='ResumableSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='UnlabeledImages',
        data_root=data_root,
        pipeline=[
            # JPEGs are decoded smaller where every crop still has its 224 pixels
            dict(type='LoadRGBImage', min_side=290),
            dict(type='RandomTeacherCrop', size=224, scale=(0.8, 1.0)),
            dict(type='PackTeacherCrop'),
        ],
    ),
)

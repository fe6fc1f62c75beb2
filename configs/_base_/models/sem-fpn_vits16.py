# Semantic FPN (Kirillov et al., CVPR 2019) with ViT-S/16: paper Section 5.
embed_dims = 384

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),
        pad_val=0,
        seg_pad_val=255,
        test_cfg=dict(size_divisor=16),  # whole patches
    ),
    backbone=dict(
        type='ViTFPN',
        img_size=224,  # of pretraining
        patch_size=16,
        embed_dims=embed_dims,
        depth=12,
        num_heads=embed_dims // 64,
        out_indices=(2, 5, 8, 11),  # blocks 3, 6, 9, 12
        drop_path_rate=0.05,
        # The file comes from the config's `pretrained`. The teacher where it holds two networks.
        init_cfg=dict(type='PretrainedViT', key='teacher'),
    ),
    neck=dict(type='FPN', in_channels=[embed_dims] * 4, out_channels=256, num_outs=4),
    decode_head=dict(
        type='FPNHead',
        in_channels=[256] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
)

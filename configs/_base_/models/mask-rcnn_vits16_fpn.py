# Mask R-CNN with ViT-S/16 and FPN: paper Section 5; [C] authors' released code.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

embed_dims = 384

model = dict(
    backbone=dict(
        _delete_=True,
        type='ViTFPN',
        img_size=224,  # of pretraining
        patch_size=16,
        embed_dims=embed_dims,
        depth=12,
        # 64 wide each; the released config had 8, but its networks were pretrained with 6
        num_heads=embed_dims // 64,
        out_indices=(3, 5, 7, 11),  # blocks 4, 6, 8, 12 [C]
        drop_path_rate=0.05,
        # The file comes from the config's `pretrained`. The teacher where it holds two networks.
        init_cfg=dict(type='PretrainedViT', key='teacher'),
    ),
    neck=dict(in_channels=[embed_dims] * 4),
)

# Mask R-CNN with ViTDet-B: paper Section 5, after Li et al., ECCV 2022.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

norm_cfg = dict(type='mmpretrain.LN2d', eps=1e-6)

model = dict(
    # Whole 1024 x 1024 inputs also in evaluation, padded after normalization.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type='ViTDet',
        img_size=1024,
        patch_size=16,
        embed_dims=768,
        depth=12,
        num_heads=12,
        window_size=14,
        global_indices=(2, 5, 8, 11),
        out_channels=256,
        drop_path_rate=0.1,
        pretrain_img_size=224,
        # The file comes from the config's `pretrained`. The teacher where it holds two networks.
        init_cfg=dict(type='PretrainedViT', key='teacher'),
    ),
    neck=None,  # the pyramid is in the backbone
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)

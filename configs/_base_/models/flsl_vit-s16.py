# FLSL with ViT-S/16: paper Section 5 and Appendix E; [P] paper, [C] authors' released code.
embed_dims = 384

model = dict(
    type='FLSL',
    backbone=dict(
        type='FLSLVisionTransformer',
        arch='deit-small',  # 384 wide, 12 blocks, 6 heads; mmpretrain's 'small' is another network
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,  # student only [C]
    ),
    neck=dict(
        type='MeanShiftNeck',
        # The scale is the cluster size; the log's `attended_tokens` shows it. [C]
        self_scale=0.1 / embed_dims**0.5,
        cross_scale=0.2 / embed_dims**0.5,
        # window_sizes={'global': 2, 'local': 2} is the default. [P] Appendix I.2
    ),
    head=dict(
        type='FLSLHead',
        in_channels=embed_dims,
        num_prototypes=4096,  # [P] Table 6
        hidden_channels=2048,
        bottleneck_channels=256,
        num_layers=3,
        student_temp=0.1,
        teacher_temp=0.04,
        loss_weights=dict(intra=0.03, inter=1.0, volume=5.0),  # [P] Table 5
    ),
    # Student and local views are cut from the teacher crop on the training device. [C]
    data_preprocessor=dict(
        type='MultiViewPreprocessor',
        num_teacher_views=1,
        student_view=dict(size=224, scale=(0.5, 1.0)),
        local_views=dict(number=2, size=96, scale=(0.05, 0.4)),
    ),
)

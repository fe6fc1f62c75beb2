# Mask R-CNN on any network that FLSL has pretrained, such as that of flsl_small.py: the backbone's
# design is read off the file, and stands in the config of the work dir.
#   --cfg-options pretrained=FILE
_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

model = dict(
    backbone=dict(
        img_size='auto',
        patch_size='auto',
        embed_dims='auto',
        depth='auto',
        num_heads='auto',
        out_indices='auto',
        in_channels='auto',
        drop_path_rate=0.0,
    ),
)

# Semantic FPN on any network that FLSL has pretrained, such as that of flsl_small.py: the design of
# the backbone is read off the file, and stands in the config of the work dir.
#   --cfg-options pretrained=FILE
_base_ = ['./sem-fpn_flsl-vits16_40k_ade20k-512x512.py']

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

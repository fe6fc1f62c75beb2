# ADE20K (docs/ade20k.md).
_base_ = './coco.py'

dense = dict(
    data_root='data/ade/ADEChallengeData2016',
    images=dict(reduce_zero_label=True, num_classes=150),
)

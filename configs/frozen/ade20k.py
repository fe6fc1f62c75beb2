# ADE20K for tools/eval_frozen.py --data; docs/ade20k.md says where the images come from.
_root = 'data/ade/ADEChallengeData2016'
_masks = dict(type='MaskFolder', reduce_zero_label=True, num_classes=150)

train = dict(_masks, images=f'{_root}/images/training', masks=f'{_root}/annotations/training')
val = dict(_masks, images=f'{_root}/images/validation', masks=f'{_root}/annotations/validation')

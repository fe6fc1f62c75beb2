# COCO 2017 for tools/eval_frozen.py --data; docs/coco.md says where the images come from.
_root = 'data/coco'
_ann_file = f'{_root}/annotations/instances_%s.json'

train = dict(type='InstanceImages', ann_file=_ann_file % 'train2017', images=f'{_root}/train2017')
val = dict(type='InstanceImages', ann_file=_ann_file % 'val2017', images=f'{_root}/val2017')

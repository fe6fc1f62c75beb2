_base_ = [
    '../_base_/models/mask-rcnn_vitb16_vitdet.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/detection_adamw_100e.py',
]

# Any ViT-B/16 in a layout of docs/checkpoints.md. Override with
#   --cfg-options pretrained=FILE        (None: random initialization)
pretrained = 'work_dirs/flsl_vitb16_300e/epoch_300.pth'

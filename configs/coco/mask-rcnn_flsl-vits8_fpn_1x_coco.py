_base_ = [
    '../_base_/models/mask-rcnn_vits8_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/detection_adamw_1x.py',
]

# Any ViT-S/8 in a layout of docs/checkpoints.md. Override with
#   --cfg-options pretrained=FILE        (None: random initialization)
pretrained = 'work_dirs/flsl_vits8_300e/epoch_300.pth'

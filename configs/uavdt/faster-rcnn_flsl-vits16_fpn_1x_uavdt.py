_base_ = [
    '../_base_/models/faster-rcnn_vits16_fpn.py',
    '../_base_/datasets/uavdt.py',
    '../_base_/schedules/detection_sgd_1x.py',
]

# Any ViT-S/16 in a layout of docs/checkpoints.md. Override with
#   --cfg-options pretrained=FILE        (None: random initialization)
pretrained = 'work_dirs/flsl_vits16_300e/epoch_300.pth'

# Where the paper is silent: taps, stochastic depth and anchors as on COCO.
model = dict(
    data_preprocessor=dict(pad_size_divisor=16),  # whole patches; 32 would grow 528 to 544
    roi_head=dict(bbox_head=dict(num_classes=3)),  # car, truck, bus
    # A prior at least half inside an ignored region is no negative.
    train_cfg=dict(
        rpn=dict(assigner=dict(ignore_iof_thr=0.5)),
        rcnn=dict(assigner=dict(ignore_iof_thr=0.5)),
    ),
    # The metric knows no classes: a vehicle found as car and as truck has one detection too many.
    test_cfg=dict(rcnn=dict(nms=dict(class_agnostic=True))),
)

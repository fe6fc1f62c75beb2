# Boxes alone: data without masks need none.
_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

masks = False
model = dict(type='FasterRCNN', roi_head=dict(mask_roi_extractor=None, mask_head=None))

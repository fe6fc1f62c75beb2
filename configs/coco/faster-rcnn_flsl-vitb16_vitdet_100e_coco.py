# Boxes alone: data without masks need none.
_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

masks = False
model = dict(type='FasterRCNN', roi_head=dict(mask_roi_extractor=None, mask_head=None))

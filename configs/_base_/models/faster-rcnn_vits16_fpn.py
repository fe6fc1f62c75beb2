# Faster R-CNN with ViT-S/16 and FPN: that of the Mask R-CNN without masks.
_base_ = ['./mask-rcnn_vits16_fpn.py']

model = dict(type='FasterRCNN', roi_head=dict(mask_roi_extractor=None, mask_head=None))

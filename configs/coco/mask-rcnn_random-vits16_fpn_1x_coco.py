_base_ = ['./mask-rcnn_flsl-vits16_fpn_1x_coco.py']

pretrained = None

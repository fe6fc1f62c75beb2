_base_ = ['./mask-rcnn_flsl-vits8_fpn_1x_coco.py']

pretrained = None

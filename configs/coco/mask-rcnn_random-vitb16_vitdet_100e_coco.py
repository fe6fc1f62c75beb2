_base_ = ['./mask-rcnn_flsl-vitb16_vitdet_100e_coco.py']

pretrained = None

# Every frozen task.
_base_ = [
    '../knn/bbox-knn_imagenet.py',
    '../davis/label-propagation_davis2017-val-480p.py',
    './coco.py',
]

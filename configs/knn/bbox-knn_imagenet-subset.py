# 20,000 training and 5,000 validation images: what pretraining is watched with.
_base_ = ['./bbox-knn_imagenet.py']

knn = dict(train_per_class=20, max_test_images=5000)

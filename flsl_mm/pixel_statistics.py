"""What networks pretrained on ImageNet expect of pixels."""

# Of the channels R, G, B, of pixels in 0-255.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

_base_ = ['../../pretrain/flsl_vits16_100e.py']

train_dataloader = dict(batch_size=256)  # on 8 processes: 2048 images

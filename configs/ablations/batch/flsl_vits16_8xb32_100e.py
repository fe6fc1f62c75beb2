_base_ = ['../../pretrain/flsl_vits16_100e.py']

train_dataloader = dict(batch_size=32)  # on 8 processes: 256 images

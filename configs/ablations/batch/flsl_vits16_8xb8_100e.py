_base_ = ['../../pretrain/flsl_vits16_100e.py']

train_dataloader = dict(batch_size=8)  # on 8 processes: 64 images

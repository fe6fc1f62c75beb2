_base_ = ['../../pretrain/flsl_vits16_100e.py']

train_dataloader = dict(batch_size=128)  # on 8 processes: 1024 images

_base_ = ['../../pretrain/flsl_vits16_100e.py']

train_dataloader = dict(batch_size=16)  # on 8 processes: 128 images

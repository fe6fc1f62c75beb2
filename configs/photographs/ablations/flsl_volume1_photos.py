_base_ = ['../flsl_photos.py']

model = dict(head=dict(loss_weights=dict(volume=1.0)))

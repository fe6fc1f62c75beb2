_base_ = ['../flsl_photos.py']

model = dict(head=dict(num_prototypes=64))

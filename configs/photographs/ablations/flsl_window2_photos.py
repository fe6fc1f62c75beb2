_base_ = ['../flsl_photos.py']

model = dict(neck=dict(window_sizes={'global': 2, 'local': 2}))

# Half of each student view's tokens, in 4 passes: 0.9 of the processor time of flsl_photos.py.
_base_ = ['../flsl_photos.py']

model = dict(student_keep=0.5)
train_cfg = dict(max_epochs=4)

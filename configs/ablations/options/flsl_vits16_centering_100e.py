# The teacher's logits are centered as in DINO.
_base_ = ['../../pretrain/flsl_vits16_100e.py']

model = dict(head=dict(teacher_norm='centering'))

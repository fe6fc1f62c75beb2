# What every detection run shares: runtime, log, checkpoints.
_base_ = ['./default_runtime.py']

default_scope = 'mmdet'
custom_imports = dict(imports=['flsl_mm', 'flsl_mm.datasets.checked_coco_dataset'])

default_hooks = dict(
    checkpoint=dict(type='mmpretrain.AtomicCheckpointHook'),
    non_finite_loss=dict(type='mmpretrain.NonFiniteLossHook'),
    data_fit=dict(type='mmpretrain.DataFitHook'),
    visualization=dict(type='DetVisualizationHook'),
)
visualizer = dict(type='DetLocalVisualizer', name='visualizer')
log_processor = dict(_delete_=True, type='LogProcessor', window_size=50)
env_cfg = dict(
    cudnn_benchmark=False,  # images of many sizes
    # Float32 matrices in TensorFloat32, as convolutions are by default; --amp takes precedence.
    allow_tf32=True,
)

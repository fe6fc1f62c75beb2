# What every segmentation run shares: runtime, log, checkpoints; all of it counts iterations.
_base_ = ['./default_runtime.py']

default_scope = 'mmseg'
custom_imports = dict(imports=['flsl_mm', 'flsl_mm.segmentation'])

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(type='mmpretrain.AtomicCheckpointHook', by_epoch=False, interval=4000),
    non_finite_loss=dict(type='mmpretrain.NonFiniteLossHook'),
    data_fit=dict(type='mmpretrain.DataFitHook'),
    visualization=dict(type='SegVisualizationHook'),
)
visualizer = dict(type='SegLocalVisualizer', name='visualizer')
log_processor = dict(_delete_=True, type='LogProcessor', window_size=50, by_epoch=False)
# Float32 matrices in TensorFloat32, as convolutions are by default; --amp takes precedence.
env_cfg = dict(allow_tf32=True)

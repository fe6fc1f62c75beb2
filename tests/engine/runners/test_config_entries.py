"""Nested settings that nothing reads."""

import pytest
from mmengine.config import Config

from flsl_mm.engine.runners.config_entries import check_entries
from flsl_mm.utils.errors import ConfigError


@pytest.mark.parametrize(
    'entry, nearest',
    [
        ('auto_scale_lr.enabled', 'enable'),
        ('env_cfg.cudnn_benchmrk', 'cudnn_benchmark'),
        ('env_cfg.mp_cfg.opencv_num_thread', 'opencv_num_threads'),
        ('env_cfg.dist_cfg.backed', 'backend'),
        ('randomness.deterministik', 'deterministic'),
        ('default_hooks.logger.intervall', 'interval'),
        ('default_hooks.checkpoint.max_keep_ckpt', 'max_keep_ckpts'),
        ('default_hooks.checkpont.interval', 'default_hooks.checkpoint'),
        ('train_cfg.max_epoch', 'max_epochs'),
        ('optim_wrapper.optimizer.weight_decai', 'weight_decay'),
        ('log_processor.window', 'window_size'),
    ],
)
def test_misspelt_settings_are_refused_with_the_nearest_name(tiny_config, entry, nearest):
    check_entries(tiny_config)
    tiny_config.merge_from_dict({entry: 3})
    with pytest.raises(ConfigError, match=f'(read by nothing|has no type); is it {nearest}\\?'):
        check_entries(tiny_config)


@pytest.mark.parametrize(
    'config',
    [
        'pretrain/mocov3_vits16_300e',
        'coco/mask-rcnn_flsl-vitb16_vitdet_100e_coco',
        'uavdt/faster-rcnn_flsl-vits16_fpn_1x_uavdt',
        'ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512',
        'ade20k/knn_flsl-vits16_1e_ade20k-512x512',
    ],
)
def test_the_configs_of_every_task_pass(project_root, config):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    check_entries(Config.fromfile(project_root / f'configs/{config}.py'))

"""Nested settings that nothing reads."""

import pytest
from mmengine.config import Config

from flsl_mm.engine.runners.config_entries import check_entries
from flsl_mm.utils.errors import ConfigError

COCO = 'coco/mask-rcnn_flsl-vits16_fpn_1x_coco'
ADE20K = 'ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512'


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
        ('optim_wrapper.accumulativ_counts', 'accumulative_counts'),
        ('optim_wrapper.clip_grad.max_nrm', 'max_norm'),
        ('optim_wrapper.paramwise_cfg.norm_decay_mul', 'norm_decay_mult'),
        ('param_scheduler.eta_mn', 'eta_min'),
        ('train_dataloader.num_worker', 'num_workers'),
        ('train_dataloader.sampler.shufle', 'shuffle'),
        ('train_dataloader.dataset.data_roots', 'data_root'),
        ('train_dataloader.dataset.pipeline.0.min_sides', 'min_side'),
        ('model.backbone.drop_path_rat', 'drop_path_rate'),
        ('model.backbone.arch.num_head', 'num_heads'),
        ('model.head.loss_weights.itra', 'intra'),
    ],
)
def test_misspelt_settings_are_refused_with_the_nearest_name(tiny_config, entry, nearest):
    check_entries(tiny_config)
    tiny_config.merge_from_dict({entry: 3})
    with pytest.raises(ConfigError, match=f'(read by nothing|has no type); is it {nearest}\\?'):
        check_entries(tiny_config)


@pytest.mark.parametrize(
    'config, entry, nearest',
    [
        (COCO, 'model.train_cfg.rpn.assigner.pos_iou_thrs', 'pos_iou_thr'),
        (COCO, 'model.train_cfg.rcnn.sampler.pos_fractoin', 'pos_fraction'),
        (COCO, 'model.train_cfg.rpn_proposal.nms_prre', 'nms_pre'),
        (COCO, 'model.test_cfg.rcnn.score_thrr', 'score_thr'),
        (COCO, 'model.test_cfg.rcnn.nms.iou_treshold', 'iou_threshold'),
        (COCO, 'model.test_cfg.rcn', 'rcnn'),
        (COCO, 'model.rpn_head.num_conv', 'num_convs'),
        (COCO, 'train_dataloader.dataset.filter_cfg.filter_empty_gts', 'filter_empty_gt'),
        (COCO, 'test_evaluator.outfile_prefx', 'outfile_prefix'),
        (COCO, 'optim_wrapper.paramwise_cfg.decay_rat', 'decay_rate'),
        (ADE20K, 'model.test_cfg.strid', 'stride'),
        (ADE20K, 'model.decode_head.loss_decode.loss_wight', 'loss_weight'),
    ],
)
def test_so_are_those_of_detectors_and_segmentors(project_root, config, entry, nearest):
    pytest.importorskip('mmseg' if config is ADE20K else 'mmdet')
    cfg = Config.fromfile(project_root / f'configs/{config}.py')
    cfg.merge_from_dict({entry: 3})
    with pytest.raises(ConfigError, match=f'{entry} is read by nothing; is it {nearest}\\?'):
        check_entries(cfg)


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

"""Every COCO config against the settings of the paper."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import flsl_mm  # noqa: F401
from flsl_mm.config.variables import follow_variables

pytest.importorskip('mmdet')
FOLDER = Path(__file__).parents[2] / 'configs/coco'
METHODS = ('flsl', 'dino', 'mae', 'mocov3', 'sup', 'random')
SMALL = [f'mask-rcnn_{m}-{a}_fpn_1x_coco' for m in METHODS for a in ('vits16', 'vits8')]
LARGE = [f'mask-rcnn_{m}-vitb16_vitdet_100e_coco' for m in METHODS]
ANY = 'mask-rcnn_flsl-small_fpn_1x_coco'  # tests/config/test_design.py
# Other projects' networks, with all their parts, and the config that each inherits.
TRUNKS = {
    f'mask-rcnn_{name}_coco': f'mask-rcnn_flsl-{twin}_coco'
    for name, twin in (
        ('dinov2-vits14-reg_fpn_1x', 'vits16_fpn_1x'),
        ('dinov3-vits16_fpn_1x', 'vits16_fpn_1x'),
        ('dinov2-vitb14-reg_vitdet_100e', 'vitb16_vitdet_100e'),
        ('dinov3-vitb16_vitdet_100e', 'vitb16_vitdet_100e'),
    )
}


BOXES = ['faster-rcnn_flsl-vits16_fpn_1x_coco', 'faster-rcnn_flsl-vitb16_vitdet_100e_coco']


def load(name: str) -> Config:
    return Config.fromfile(FOLDER / f'{name}.py')


def transforms(pipeline) -> list[dict]:
    """All transforms of a pipeline, also those to choose from."""
    found = []
    for step in pipeline:
        found.append(step)
        for branch in step.get('transforms', []):
            found += transforms(branch)
    return found


def test_there_are_no_other_configs():
    assert sorted(p.stem for p in FOLDER.glob('*.py')) == sorted(
        [*SMALL, *LARGE, *TRUNKS, *BOXES, ANY]
    )


@pytest.mark.parametrize('name', SMALL + LARGE)
def test_each_method_differs_in_its_weights_only(name):
    method = name.split('_')[1].split('-')[0]
    cfg, reference = load(name), load(name.replace(f'_{method}-', '_flsl-'))
    assert (cfg.pretrained is None) == (method == 'random')
    assert cfg.model.backbone.init_cfg.pop('key') == (
        'student' if method == 'mocov3' else 'teacher'
    )
    reference.model.backbone.init_cfg.pop('key')
    cfg, reference = cfg.to_dict(), reference.to_dict()
    pretrained = {cfg.pop('pretrained'), reference.pop('pretrained')}
    assert len(pretrained) == (1 if method == 'flsl' else 2)
    assert cfg == reference


@pytest.mark.parametrize('name', TRUNKS)
def test_trunks_differ_in_the_network_and_its_weights_only(name):
    cfg, twin = load(name).to_dict(), load(TRUNKS[name]).to_dict()
    assert cfg.pop('pretrained') != twin.pop('pretrained')
    found, theirs = cfg['model']['backbone'], twin['model']['backbone']
    assert ('dinov3' in name) == (found.pop('trunk')['family'] == 'DINOv3')
    size = 'pretrain_img_size' if 'vitdet' in name else 'img_size'
    assert found.pop(size) == (592 if 'dinov2' in name else theirs[size])
    theirs.pop(size)
    if 'vitdet' in name:
        assert found.pop('window_size') == 0 != theirs.pop('window_size')
    assert cfg == twin


@pytest.mark.parametrize('name', ['flsl-vits16_fpn_1x', 'flsl-vits8_fpn_1x'])
def test_small_networks_have_the_settings_of_the_paper(name):
    cfg = load(f'mask-rcnn_{name}_coco')
    backbone = cfg.model.backbone
    assert (backbone.embed_dims, backbone.depth, backbone.num_heads) == (384, 12, 6)
    assert tuple(backbone.out_indices) == (3, 5, 7, 11)
    assert backbone.patch_size == (8 if 'vits8' in name else 16)
    assert backbone.drop_path_rate == 0.05
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 0.05)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=1.0)
    warmup, steps = cfg.param_scheduler
    assert warmup.end == 1000 and not warmup.by_epoch
    assert steps.milestones == [8, 11] and cfg.train_cfg.max_epochs == 12
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    resizes = [
        {min(scale) for scale in t.scales}
        for t in transforms(cfg.train_dataloader.dataset.pipeline)
        if t.type == 'RandomChoiceResize'
    ]
    assert resizes == [set(range(480, 801, 32)), {400, 500, 600}, set(range(480, 801, 32))]
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (1333, 800)


@pytest.mark.parametrize('epochs', [1, 2, 3, 48])
@pytest.mark.parametrize(
    'name', ['mask-rcnn_flsl-vits16_fpn_1x_coco', 'mask-rcnn_flsl-vitb16_vitdet_100e_coco']
)
def test_however_short_a_run_is_it_starts_with_its_learning_rate(name, epochs):
    cfg = load(name)
    cfg.merge_from_dict(dict(max_epochs=epochs))
    follow_variables(cfg)
    steps = cfg.param_scheduler[-1]
    assert cfg.train_cfg.max_epochs == steps.end == epochs
    assert all(step > 0 for step in steps.milestones)  # else taken before the first epoch


def test_vitdet_has_the_settings_of_the_paper():
    cfg = load('mask-rcnn_flsl-vitb16_vitdet_100e_coco')
    backbone = cfg.model.backbone
    assert (backbone.embed_dims, backbone.depth, backbone.num_heads) == (768, 12, 12)
    assert (backbone.img_size, backbone.window_size) == (1024, 14)
    assert tuple(backbone.global_indices) == (2, 5, 8, 11)
    assert backbone.drop_path_rate == 0.1
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 0.1)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=0.7)
    warmup, steps = cfg.param_scheduler
    assert warmup.end == 250 and not warmup.by_epoch
    epochs = cfg.train_cfg.max_epochs
    assert epochs == 100
    assert steps.milestones == [round(epochs * 8 / 9), round(epochs * 19 / 20)]
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=64)
    jitter = next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'RandomResize')
    assert (jitter.scale, jitter.ratio_range) == ((1024, 1024), (0.1, 2.0))


@pytest.mark.parametrize('name', [*SMALL, *LARGE, *TRUNKS])
def test_runtime(name):
    cfg = load(name)
    assert (cfg.default_scope, cfg.runner_type) == ('mmdet', 'FLSLRunner')
    assert cfg.default_hooks.checkpoint.type == 'mmpretrain.AtomicCheckpointHook'
    assert 'collate_fn' not in cfg.train_dataloader
    assert {b.type for b in cfg.visualizer.vis_backends} == {
        'LocalVisBackend',
        'TensorboardVisBackend',
    }


@pytest.mark.parametrize('name', [*SMALL[:2], *LARGE[:1], *TRUNKS])
def test_the_model_builds_in_its_full_size(name):
    init_default_scope('mmdet')
    cfg = load(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    backbone = model.backbone
    layers = backbone.trunk.model.blocks if name in TRUNKS else backbone.layers
    millions = sum(p.numel() for p in layers.parameters()) / 1e6
    assert millions == pytest.approx(85.1 if 'vitb' in name else 21.3, abs=0.3)
    if 'dinov2' in name:
        assert backbone.trunk.model.pos_embed.shape[1] == 37 * 37


@pytest.mark.parametrize('name', [*SMALL[:2], *LARGE[:1], *list(TRUNKS)[::3]])
def test_two_iterations_and_an_evaluation(name, shrink_coco, make_runner, tmp_path):
    cfg = shrink_coco(name, factor=16 if 'vits8' in name else 8)
    cfg.pretrained = None
    runner = make_runner(cfg)
    runner.train()
    assert runner.iter == 2
    scalars = runner.message_hub.log_scalars
    assert scalars['train/loss_mask'].current() > 0
    assert 0 <= scalars['val/coco/segm_mAP'].current() < 0.5
    # The rate is for the whole batch of the config, here of two images, during the warm-up.
    scale = 2 / cfg.auto_scale_lr.base_batch_size
    warm = cfg.param_scheduler[0]
    second = warm.start_factor + (1 - warm.start_factor) / (warm.end - warm.begin - 1)
    expected = cfg.optim_wrapper.optimizer.lr * scale * second
    assert scalars['train/lr'].current() == pytest.approx(expected, rel=1e-3)
    assert 'train/base_lr' not in scalars

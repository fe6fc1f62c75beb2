"""The one variable that names a detector's weights."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule, PretrainedInit
from torch import nn

from flsl_mm.checkpoint import CheckpointError, PretrainedViT
from flsl_mm.config import use_pretrained
from flsl_mm.config.pretrained import (
    check_pretrained,
    forget_pretrained,
    refuse_unsafe,
    trust_files,
)
from flsl_mm.utils.errors import ConfigError


def config(pretrained, **init_cfg) -> Config:
    init_cfg = dict(dict(type='PretrainedViT', key='teacher'), **init_cfg)
    return Config(dict(model=dict(backbone=dict(init_cfg=init_cfg)), pretrained=pretrained))


def test_the_variable_reaches_the_backbone_also_from_the_command_line():
    cfg = config('own.pth')
    use_pretrained(cfg)
    assert cfg.model.backbone.init_cfg.checkpoint == 'own.pth'
    cfg = config('own.pth')
    cfg.merge_from_dict({'pretrained': 'other.pth'})
    use_pretrained(cfg)
    use_pretrained(cfg)  # twice is once
    assert cfg.model.backbone.init_cfg == dict(
        type='PretrainedViT', key='teacher', checkpoint='other.pth'
    )


@pytest.mark.parametrize('variable', ['own.pth', None])
@pytest.mark.parametrize('listed', [False, True])
def test_two_files_to_start_from_are_refused(variable, listed):
    cfg = config(variable, checkpoint='other.pth')
    if listed:
        cfg.model.backbone.init_cfg = [cfg.model.backbone.init_cfg]
    with pytest.raises(ConfigError, match='checkpoint=other.pth are both set: .* pretrained=FILE'):
        use_pretrained(cfg)


def test_none_is_random_initialization():
    cfg = config(None)
    use_pretrained(cfg)
    assert cfg.model.backbone.init_cfg.checkpoint is None
    check_pretrained(cfg)


def test_configs_without_the_variable_or_the_initialization_are_left_alone():
    for content in (
        dict(),
        dict(pretrained=None),
        dict(model=dict(backbone=dict(init_cfg=None)), pretrained=None),
        dict(model=dict(backbone=dict(init_cfg=dict(type=PretrainedViT, checkpoint=None)))),
    ):
        cfg = Config(content)
        use_pretrained(cfg)
        assert cfg.to_dict() == content
        check_pretrained(cfg)


@pytest.mark.parametrize('init_cfg', [None, dict(type='Pretrained', checkpoint='x.pth')])
def test_a_file_that_no_part_of_the_model_would_read_is_refused(init_cfg):
    cfg = Config(dict(model=dict(backbone=dict(init_cfg=init_cfg)), pretrained='x.pth'))
    with pytest.raises(ConfigError, match=r'pretrained=x\.pth is read by nothing: .*PretrainedViT'):
        use_pretrained(cfg)


@pytest.mark.parametrize('kind', ['Pretrained', 'mmengine.Pretrained', PretrainedInit])
@pytest.mark.parametrize('listed', [False, True])
def test_mmengine_s_own_initialization_from_a_file_is_refused(kind, listed):
    init_cfg = dict(type=kind, checkpoint='x.pth')
    model = BaseModule(init_cfg=dict(type='Constant', layer='Linear', val=0.5))
    model.backbone = BaseModule(init_cfg=[init_cfg] if listed else init_cfg)
    with pytest.raises(ConfigError, match=r'model\.backbone\.init_cfg: Pretrained .*PretrainedViT'):
        refuse_unsafe(model)
    forget_pretrained(model)  # a checkpoint has all weights
    refuse_unsafe(model)


def test_trust_reaches_every_file_of_the_model_and_nothing_else():
    init_cfg = dict(type='PretrainedViT', checkpoint='x.pth')
    other = dict(type='Pretrained', checkpoint='x.pth')
    model = dict(
        backbone=dict(init_cfg=[dict(init_cfg), dict(other)]),
        previous_teacher=dict(init_cfg=dict(init_cfg)),
    )
    cfg = Config(dict(model=model))
    trust_files(cfg)
    assert cfg.model.to_dict() == dict(
        backbone=dict(init_cfg=[dict(init_cfg, trust=True), other]),
        previous_teacher=dict(init_cfg=dict(init_cfg, trust=True)),
    )


def test_what_names_a_file_is_forgotten_and_other_initialization_is_not():
    file = dict(type='PretrainedViT', checkpoint='x.pth')
    constant = dict(type='Constant', layer='Linear', val=1.0)
    children = [BaseModule(init_cfg=c) for c in (file, [constant, file], [constant], None)]
    model = BaseModule(init_cfg=dict(type='Pretrained', checkpoint='x.pth'))
    model.children_ = nn.ModuleList([*children, nn.Linear(2, 2)])
    forget_pretrained(model)
    assert [m.init_cfg for m in (model, *children)] == [None, None, [constant], [constant], None]


@pytest.mark.parametrize('write, problem', [(False, 'no such file'), (True, 'the file is empty')])
def test_missing_weights_are_named_before_training(tmp_path, write, problem):
    path = tmp_path / 'weights.pth'
    if write:
        path.touch()
    cfg = config(str(path))
    use_pretrained(cfg)
    with pytest.raises(CheckpointError, match=f'weights.pth: {problem}; .* pretrained=FILE'):
        check_pretrained(cfg)


def test_the_runner_starts_from_the_named_weights(shrink_coco, make_runner, tmp_path):
    from flsl_mm.models import ViTFPN

    pytest.importorskip('mmdet')
    cfg = shrink_coco('mask-rcnn_dino-vits16_fpn_1x_coco')
    backbone = {k: v for k, v in cfg.model.backbone.items() if k not in ('type', 'init_cfg')}
    donor = ViTFPN(**backbone)
    weights = {
        name: torch.randn_like(tensor)
        for name, tensor in donor.state_dict().items()
        if not name.startswith('fpn')
    }
    path = tmp_path / 'donor.pth'
    torch.save(weights, path)
    runner = make_runner(cfg, pretrained=str(path))
    runner.model.init_weights()
    for name, tensor in runner.model.backbone.state_dict().items():
        if name in weights:
            assert torch.equal(tensor.cpu(), weights[name]), name


def test_the_runner_stops_before_reading_data(shrink_coco, make_runner):
    pytest.importorskip('mmdet')
    cfg = shrink_coco('mask-rcnn_mae-vitb16_vitdet_100e_coco')
    cfg.train_dataloader.dataset.ann_file = 'absent.json'
    with pytest.raises(CheckpointError, match='mae_pretrain_vit_base.pth: no such file'):
        make_runner(cfg).train()

"""Detector and segmentor whose backbone is read off the file they start from."""

from argparse import Namespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from flsl_mm.apis.command_line import read_config_file
from flsl_mm.apis.trained import use_trained_settings
from flsl_mm.config.channels import follow_channels
from flsl_mm.config.design import take_design
from flsl_mm.config.pretrained import use_pretrained
from flsl_mm.config.recipe import choose_settings
from flsl_mm.config.width import follow_backbone
from flsl_mm.utils.errors import CheckpointError, ConfigError

CONFIGS = dict(
    mmdet='coco/mask-rcnn_flsl-small_fpn_1x_coco',
    mmseg='ade20k/sem-fpn_flsl-small_40k_ade20k-512x512',
)


@pytest.fixture
def checkpoint(build_flsl, tmp_path) -> str:
    """A network that is 64 wide, with 4 blocks and patches of 8."""
    arch = dict(embed_dims=64, num_layers=4, num_heads=1, feedforward_channels=256)
    backbone = dict(arch=arch, patch_size=8, img_size=64)
    model = build_flsl(backbone=backbone, head=dict(in_channels=64))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'small.pth')
    return str(tmp_path / 'small.pth')


@pytest.fixture(params=CONFIGS)
def cfg(request, project_root, checkpoint) -> Config:
    pytest.importorskip(request.param)
    cfg = Config.fromfile(project_root / f'configs/{CONFIGS[request.param]}.py')
    init_default_scope(request.param)
    return cfg


def test_the_backbone_has_the_design_of_the_file_and_takes_its_weights(cfg, checkpoint):
    cfg.pretrained = checkpoint
    assert choose_settings(cfg) == []  # those are for pretraining
    [line] = take_design(cfg)
    assert 'embed_dims=64' in line and 'depth=4' in line
    follow_backbone(cfg)
    use_pretrained(cfg)
    assert cfg.model.neck.in_channels == [64] * 4
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    expected = torch.load(checkpoint)['state_dict']['teacher.backbone.layers.3.attn.qkv.weight']
    assert torch.equal(backbone.layers[3].attn.qkv.weight, expected)
    assert backbone.out_indices == (0, 1, 2, 3) and backbone.patch_size == 8
    assert take_design(cfg) == []  # as in the config of the work dir


def test_without_a_file_of_flsl_it_stops_in_one_line(cfg, checkpoint, tmp_path):
    cfg.pretrained = None
    with pytest.raises(ConfigError, match='is read off a file: name it with pretrained=FILE'):
        take_design(cfg)
    cfg.pretrained = str(tmp_path / 'none.pth')
    with pytest.raises(CheckpointError, match='pretrained weights: .*none.pth: no such file'):
        take_design(cfg)
    cfg.pretrained = checkpoint
    cfg.model.backbone.frozen_stages = 'auto'
    with pytest.raises(ConfigError, match="model.backbone.frozen_stages='auto': only patch_size"):
        take_design(cfg)


def test_what_was_trained_says_its_design_by_itself(cfg, checkpoint, tmp_path):
    config, path = cfg.filename, str(tmp_path / 'trained.pth')
    cfg.pretrained = checkpoint
    take_design(cfg)
    cfg.model.backbone.out_indices = [0, 1, 1, 3]  # as given in training
    torch.save(dict(state_dict={}, meta=dict(cfg=cfg.pretty_text)), path)
    args = Namespace(config=config, checkpoint=path, cfg_options={}, trust=False)
    use_trained_settings(args)
    again = read_config_file(config, args.cfg_options)
    assert again.model.backbone == cfg.model.backbone
    assert again.model.neck.in_channels == [64] * 4
    torch.save(dict(state_dict={}, meta=dict(cfg=Config.fromfile(config).pretty_text)), path)
    with pytest.raises(CheckpointError, match='does not record model.backbone.img_size'):
        use_trained_settings(Namespace(config=config, checkpoint=path, cfg_options={}, trust=False))


def test_what_was_trained_on_other_channels_says_their_statistics_too(cfg, checkpoint, tmp_path):
    config, path = cfg.filename, str(tmp_path / 'trained.pth')
    cfg.pretrained = checkpoint
    take_design(cfg)
    cfg.model.backbone.in_channels = 4
    cfg.model.data_preprocessor.update(mean=[1.0, 2, 3, 4], std=[5.0] * 4)
    follow_channels(cfg)
    torch.save(dict(state_dict={}, meta=dict(cfg=cfg.pretty_text)), path)
    given = {'model.data_preprocessor.std': [6.0] * 4}
    args = Namespace(config=config, checkpoint=path, cfg_options=given, trust=False)
    use_trained_settings(args)
    again = read_config_file(config, args.cfg_options)
    assert again.model.backbone.in_channels == 4
    assert again.model.data_preprocessor.mean == [1.0, 2, 3, 4]
    assert again.model.data_preprocessor.std == [6.0] * 4  # what the command line gives

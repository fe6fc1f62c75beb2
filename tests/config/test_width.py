"""Heads and necks follow the backbone, through the command line's way of reading a config."""

import pytest
from mmengine.config import Config

from flsl_mm.apis.command_line import read_config_file
from flsl_mm.config.width import follow_backbone
from flsl_mm.utils.errors import ConfigError


@pytest.fixture
def read(project_root):
    def read(name: str, **options) -> Config:
        options = {key.replace('__', '.'): value for key, value in options.items()}
        return read_config_file(project_root / f'configs/{name}.py', options)

    return read


@pytest.mark.parametrize('arch, width', [('deit-tiny', 192), ('deit-base', 768)])
def test_head_and_scales_of_a_pretraining_follow_the_arch_alone(read, arch, width):
    cfg = read('pretrain/flsl_vits16_300e', model__backbone__arch=arch)
    assert cfg.model.head.in_channels == width
    assert cfg.model.neck.self_scale == pytest.approx(0.1 / width**0.5)
    assert cfg.model.neck.cross_scale == pytest.approx(0.2 / width**0.5)
    head = read('pretrain/dino_vits16_300e', model__backbone__arch=arch).model.head
    assert head.in_channels == width


def test_what_is_overridden_itself_stays(read):
    options = dict(model__backbone__arch='deit-tiny', model__neck__self_scale=0.03)
    neck = read('pretrain/flsl_vits16_300e', **options).model.neck
    assert neck.self_scale == 0.03
    assert neck.cross_scale == pytest.approx(0.2 / 192**0.5)


@pytest.mark.parametrize(
    'name',
    ['coco/mask-rcnn_flsl-vits16_fpn_1x_coco', 'ade20k/sem-fpn_flsl-vits16_40k_ade20k-512x512'],
)
def test_neck_and_attention_heads_of_a_detector_follow_its_backbone(read, name):
    model = read(name, model__backbone__embed_dims=192).model
    assert list(model.neck.in_channels) == [192] * 4
    assert model.backbone.num_heads == 3


REFUSED = {  # config, options -> the one line
    'a head of another width': (
        'pretrain/flsl_vits16_300e',
        dict(model__head__in_channels=192),
        r'model.head.in_channels is 192, but model.backbone is 384 wide',
    ),
    'the variable alone, where the arch has a name': (
        'pretrain/flsl_vits16_300e',
        dict(embed_dims=192),
        r'embed_dims=192, but model.backbone is 384 wide: override the backbone',
    ),
    'an arch that there is not': (
        'pretrain/flsl_vits16_300e',
        dict(model__backbone__arch='deit-mini'),
        r'model.backbone.arch=deit-mini is none of .*deit-tiny',
    ),
    "MAE's decoder": (
        'pretrain/mae_vits16_300e',
        dict(model__backbone__arch='deit-tiny'),
        r'model.neck.embed_dim is 384, but model.backbone is 192 wide',
    ),
    "MoCo v3's neck": (
        'pretrain/mocov3_vits16_300e',
        dict(model__backbone__arch='deit-tiny'),
        r'model.neck.in_channels is 384, but model.backbone is 192 wide',
    ),
    "a detector's neck": (
        'coco/mask-rcnn_flsl-vits16_fpn_1x_coco',
        {'model__backbone__embed_dims': 192, 'model__neck__in_channels': [256] * 4},
        r'model.neck.in_channels is \[256, 256, 256, 256\], but model.backbone is 192 wide',
    ),
}


@pytest.mark.parametrize('name, options, message', REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(read, name, options, message):
    with pytest.raises(ConfigError, match=message):
        read(name, **options)


def test_every_config_of_a_run_has_the_width_of_its_backbone(project_root):
    for path in sorted((project_root / 'configs').glob('[a-z]*/**/*.py')):
        cfg = Config.fromfile(path, import_custom_modules=False)
        before = cfg.to_dict()
        if 'model' in before and 'post' not in path.parts:
            follow_backbone(cfg)
            assert cfg.to_dict().get('model') == before['model'], path

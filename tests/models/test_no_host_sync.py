"""In a training step a GPU is never waited for.

Tensors on torch's ``meta`` device have shapes but no values, so whatever would read a number on
the host raises there. They also take the ways that are not for CPUs.
"""

from contextlib import nullcontext

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.utils import digit_version
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

if digit_version(torch.__version__) < digit_version('2.5'):
    pytest.skip('older releases of torch miss some functions there', allow_module_level=True)

OPTIONS = {
    'flsl_vits16_300e': {},
    'flsl_vits16_two-pairs_300e': {'model.head.teacher_norm': 'sinkhorn'},
    'flsl_vits8_300e': {'model.neck.random_queries': True, 'model.backbone.with_cp': True},
    'flsl_vit-tiny_demo': {'model.neck.positional_positives': True, 'model.student_keep': 0.5},
    'flsl_vits16_100e': {
        'model.head.teacher_norm': 'centering',
        'model.backbone.position_window': (0.25, 1.0),
        'model.neck.place_width': 2.0,
    },
    'dino_vits16_300e': {},
    'dino-token-mean_vits16_300e': {},
}


@pytest.fixture(params=OPTIONS)
def config(request, project_root):
    cfg = Config.fromfile(project_root / f'configs/pretrain/{request.param}.py')
    cfg.merge_from_dict(OPTIONS[request.param])
    cfg.model.backbone.pop('init_cfg', None)
    cfg.optim_wrapper.optimizer.fused = False  # torch has no fused AdamW for this device
    return cfg


@pytest.fixture
def without_autocast(monkeypatch):
    """The meta device has no autocast, which the code turns off for parts of the step."""
    real = torch.autocast

    def autocast(kind, *args, **options):
        return nullcontext() if kind == 'meta' else real(kind, *args, **options)

    monkeypatch.setattr(torch, 'autocast', autocast)


def batch(size=3, side=64):
    samples = [DataSample(teacher_box=(0, 0, side, side)) for _ in range(size)]
    crops = torch.empty(size, 3, side, side, dtype=torch.uint8, device='meta')
    return dict(inputs=crops, data_samples=samples)


def test_a_step_asks_the_device_for_no_number(config, without_autocast):
    init_default_scope('mmpretrain')
    model = MODELS.build(config.model).to('meta').train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    data = model.data_preprocessor(batch(), training=True)
    losses = model(**data, mode='loss')
    assert {value.device.type for value in losses.values()} == {'meta'}
    optimizer.update_params(model.parse_losses(losses)[0])
    model.update_teacher()


@pytest.mark.parametrize('name', ['ViTFPN', 'ViTDet'])
def test_the_backbones_of_detectors_ask_for_none_either(name, without_autocast):
    cfg = dict(type=name, embed_dims=64, depth=4, num_heads=2, with_cp=True)
    cfg['out_indices' if name == 'ViTFPN' else 'global_indices'] = [0, 1, 2, 3]
    backbone = MODELS.build(cfg).to('meta').train()
    maps = backbone(torch.empty(2, 3, 100, 150, device='meta'))
    sum(level.sum() for level in maps).backward()
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


def test_reading_a_number_there_is_an_error():
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.empty(1, device='meta').item()

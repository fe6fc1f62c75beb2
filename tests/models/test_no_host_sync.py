"""In a training step a GPU is neither waited for nor kept waiting.

On a GPU that is not there (``tests/fake_cuda.py``) every operation of a step has its shapes,
devices and types, but no values: what would read one on the host raises.
"""

from pathlib import Path

import pytest
import torch
from fake_cuda import NUMBER, READ, WRITE
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from flsl_mm.config.recipe import choose_settings
from flsl_mm.models import FLSLVisionTransformer
from flsl_mm.models.necks.mean_shift_neck import SOLVED_BATCHES

TRUNKS = {
    'DINOv3': dict(name='vit_small_patch16_dinov3_qkvb', family='DINOv3'),
    'registers': dict(name='vit_small_patch14_reg4_dinov2', family='DINOv2 with registers'),
}
"""Networks of other projects that differ in what they ask of the device."""

LAUNCHES = 1800
"""In one step of ViT-S/16, uncompiled; each takes the host some 5 microseconds."""

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
}
"""So that every option of a step is in some config's."""

PRETRAINED = {
    'dino_any_25e': 'timm/vit_base_patch16_siglip_224',
    'flsl_any_25e': 'timm/vit_base_patch16_siglip_224',
    'flsl_dino-vits16_25e': 'deit-tiny/16',
    'flsl_dinov2-vits14-reg_25e': 'timm/vit_small_patch14_reg4_dinov2',
    'flsl_dinov3-vits16_25e': 'timm/vit_small_patch16_dinov3_qkvb',
}
"""Networks of the kind that each config of post-training is for."""

WAITING = {
    # Both are mmpretrain's: CosineEMA computes its momentum of a count of steps that is on the
    # device (a number for each tensor), and MoCoV3Head makes its labels on the host.
    'mocov3_vits16_300e': {NUMBER, WRITE},
}
"""What a step waits for, where a library's own code makes it wait."""


def two_blocks(backbone):
    """The same network with two blocks of its own, which are as good as twelve."""
    known = FLSLVisionTransformer.arch_zoo
    arch = known[backbone.arch] if isinstance(backbone.arch, str) else backbone.arch
    return {**arch, 'num_layers': 2}


class Step:
    """A training step of a config on a GPU that is not there."""

    def __init__(self, cfg, gpu, size=3, side=64):
        init_default_scope('mmpretrain')
        if cfg.model.backbone.type != 'PretrainedNetwork':
            cfg.model.backbone.pop('init_cfg', None)
        MessageHub.get_current_instance().update_info('max_iters', 100)
        cfg.optim_wrapper.precision = 'bfloat16'
        self.gpu = gpu
        self.model = MODELS.build(cfg.model).to('cuda:0').train()
        if hasattr(self.model, 'momentum_encoder'):  # only fake parameters are others after to()
            averaged = self.model.momentum_encoder
            averaged.avg_parameters = dict(averaged.module.named_parameters())
        neck = self.model.neck if self.model.with_neck else None
        if getattr(neck, 'auto_scale', None) is not None:  # the first batches do ask
            neck._take(0.0, SOLVED_BATCHES, neck.attended_tokens)
        self.wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        samples = [DataSample(teacher_box=(0, 0, side, side)) for _ in range(size)]
        crops = torch.zeros(size, 3, side, side, dtype=torch.uint8).to('cuda:0')
        self.batch = dict(inputs=crops, data_samples=samples)

    def __call__(self):
        """As ``train_step`` does it, with hooks on the optimizer; the losses."""
        model, wrapper = self.model, self.wrapper
        with wrapper.optim_context(model):
            data = model.data_preprocessor(self.batch, training=True)
            losses = model(**data, mode='loss')
        self.gpu.backward(model.parse_losses(losses)[0])
        self.gradients = {
            name: (p.grad.device.type, p.grad.dtype)
            for name, p in model.named_parameters()
            if p.grad is not None
        }
        wrapper._inner_count = 1
        wrapper.step()
        wrapper.zero_grad()
        if hasattr(model, 'update_teacher'):  # mmpretrain's methods do that on their own
            model.update_teacher()
        return losses

    def check(self, losses):
        """Losses and gradients are where and of the type they have to be."""
        assert {x.device.type for x in losses.values()} == {'cuda'}
        assert {x.dtype for name, x in losses.items() if 'loss' in name} == {torch.float32}
        trained = {n for n, p in self.model.named_parameters() if p.requires_grad}
        assert self.gradients == dict.fromkeys(trained, ('cuda', torch.float32))


CONFIGS = Path(__file__).parents[2] / 'configs'
ALL = [
    str(path.relative_to(CONFIGS).with_suffix(''))
    for folder in ('pretrain', 'ablations/options')
    for path in sorted((CONFIGS / folder).rglob('*.py'))
]


@pytest.fixture
def shrunk(image_folder, monkeypatch):
    """The config of a pretraining with two blocks, and the side of its images."""

    def shrink(name):
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        stem = Path(name).name
        cfg.merge_from_dict(OPTIONS.get(stem, {}))
        if stem in PRETRAINED:
            timm = pytest.importorskip('timm')
            plain, small = timm.create_model, dict(embed_dim=64, depth=2, num_heads=2)
            monkeypatch.setattr(
                timm.models, 'create_model', lambda *a, **k: plain(*a, **k, **small)
            )
            cfg.model.backbone.init_cfg.checkpoint = f'random:{PRETRAINED[stem]}'
            return cfg, 224
        cfg.train_dataloader.dataset.data_root = str(image_folder)
        choose_settings(cfg)
        if cfg.model.type in ('MAE', 'MoCoV3'):
            cfg.model.backbone.arch = dict(
                embed_dims=384, num_layers=2, num_heads=6, feedforward_channels=384
            )
            return cfg, 224
        cfg.model.backbone.arch = two_blocks(cfg.model.backbone)
        if earlier := cfg.model.get('previous_teacher'):
            earlier.arch = cfg.model.backbone.arch
            earlier.init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02)
        return cfg, 64

    return shrink


@pytest.mark.parametrize('name', ALL)
def test_a_step_asks_the_device_for_no_number(name, shrunk, fake_cuda):
    cfg, side = shrunk(name)
    step = Step(cfg, fake_cuda, side=side)
    losses = []
    fake_cuda.waits(lambda: losses.append(step()))  # the first makes the optimizer's state too
    step.check(losses[0])
    assert set(fake_cuda.waits(step)) == WAITING.get(Path(name).name, set())


def test_a_step_makes_few_calls(project_root, fake_cuda):
    cfg = Config.fromfile(project_root / 'configs/pretrain/flsl_vits16_300e.py')
    step = Step(cfg, fake_cuda, size=4, side=224)
    step()  # which also makes the optimizer's state
    launches = fake_cuda.count(step)
    assert 1000 < launches <= LAUNCHES, fake_cuda.launches.most_common(20)


@pytest.mark.parametrize('trunk', [None, *TRUNKS])
@pytest.mark.parametrize('name', ['ViTFPN', 'ViTDet'])
def test_the_backbones_of_detectors_ask_for_none_either(name, trunk, fake_cuda):
    cfg = dict(type=name, embed_dims=64, depth=4, num_heads=2, with_cp=True)
    cfg['out_indices' if name == 'ViTFPN' else 'global_indices'] = [0, 1, 2, 3]
    if trunk:
        pytest.importorskip('timm')
        cfg['trunk'] = TRUNKS[trunk]
        if name == 'ViTDet':
            cfg.update(global_indices=[1, 3], window_size=4)
    backbone = MODELS.build(cfg).to('cuda:0').train()
    images = torch.zeros(2, 3, 100, 150).to('cuda:0')
    maps = []

    def step():
        with torch.autocast('cuda', torch.bfloat16):
            maps.extend(backbone(images))
        fake_cuda.backward(sum(level.float().sum() for level in maps))

    assert not fake_cuda.waits(step)
    assert all(level.device.type == 'cuda' for level in maps)
    # Convolutions are autocast's; the last one's norm and the final norm are not.
    kinds = [level.dtype for level in maps]
    half, full = torch.bfloat16, torch.float32
    assert kinds == ([half, half, full, full] if name == 'ViTFPN' else [full] * 5)
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert all(p.grad.device.type == 'cuda' and p.grad.dtype == p.dtype for p in trained)


@pytest.mark.parametrize('trunk', TRUNKS)
def test_nor_do_frozen_trunks_of_segmentors(trunk, fake_cuda):
    pytest.importorskip('timm')
    cfg = dict(type='ViTMap', trunk=TRUNKS[trunk], embed_dims=64, depth=2, num_heads=2)
    backbone, maps = MODELS.build(cfg).to('cuda:0').train(), []
    images = torch.zeros(2, 3, 100, 150).to('cuda:0')
    with torch.autocast('cuda', torch.bfloat16):
        assert not fake_cuda.waits(lambda: maps.extend(backbone(images)))
    [found] = maps
    assert (found.device.type, found.dtype) == ('cuda', torch.float32)
    assert found.shape == (2, 64, 7, 10) and not found.requires_grad


@pytest.mark.parametrize(
    'wrong',
    [
        lambda x: x.sum().item(),
        lambda x: x + torch.ones(3),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
    ],
    ids=['a number', 'a tensor left on the host', 'an index on the host', 'a condition', 'a mask'],
)
def test_what_waits_is_an_error_there(fake_cuda, wrong):
    with pytest.raises((RuntimeError, NotImplementedError)):
        wrong(torch.zeros(3).to('cuda:0'))


def test_waits_are_counted_and_what_is_read_is_known(fake_cuda):
    x, found = torch.ones(3).to('cuda:0'), []

    def function():
        found.extend([x.sum().item(), x.cpu().tolist(), bool(x.all())])
        torch.ones(3).to('cuda:0')
        torch.ones(3).to('cuda:0', non_blocking=True)

    assert fake_cuda.waits(function) == {NUMBER: 2, READ: 1, WRITE: 1}
    assert found == [0.0, [0.0, 0.0, 0.0], True]

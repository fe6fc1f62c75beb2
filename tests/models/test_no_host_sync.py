"""In a training step a GPU is neither waited for nor kept waiting.

On a GPU that is not there (``tests/fake_cuda.py``) every operation of a step has its shapes,
devices and types, but no values: what would read one on the host raises.
"""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from flsl_mm.models import FLSLVisionTransformer
from flsl_mm.models.necks.mean_shift_neck import SOLVED_BATCHES

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
    'dino_vits16_300e': {},
    'dino-token-mean_vits16_300e': {},
}


def two_blocks(backbone):
    """The same network with two blocks of its own, which are as good as twelve."""
    known = FLSLVisionTransformer.arch_zoo
    arch = known[backbone.arch] if isinstance(backbone.arch, str) else backbone.arch
    return {**arch, 'num_layers': 2}


class Step:
    """A training step of a config on a GPU that is not there."""

    def __init__(self, cfg, gpu, size=3, side=64):
        init_default_scope('mmpretrain')
        cfg.model.backbone.pop('init_cfg', None)
        cfg.optim_wrapper.precision = 'bfloat16'
        self.gpu = gpu
        self.model = MODELS.build(cfg.model).to('cuda:0').train()
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
        model.update_teacher()
        return losses


CONFIGS = Path(__file__).parents[2] / 'configs/pretrain'
OURS = [
    path.stem for path in sorted(CONFIGS.glob('*.py')) if path.stem.startswith(('flsl', 'dino'))
]
OURS.remove('flsl_small')  # which chooses its network by the images; its base is among these


@pytest.mark.parametrize('name', OURS)
def test_a_step_asks_the_device_for_no_number(name, project_root, fake_cuda):
    cfg = Config.fromfile(project_root / f'configs/pretrain/{name}.py')
    cfg.merge_from_dict(OPTIONS.get(name, {}))
    cfg.model.backbone.arch = two_blocks(cfg.model.backbone)
    step = Step(cfg, fake_cuda)
    losses = step()
    assert {x.device.type for x in losses.values()} == {'cuda'}
    assert {x.dtype for name, x in losses.items() if 'loss' in name} == {torch.float32}
    trained = {n: p for n, p in step.model.named_parameters() if p.requires_grad}
    assert step.gradients == {n: ('cuda', torch.float32) for n in trained}


def test_a_step_makes_few_calls(project_root, fake_cuda):
    cfg = Config.fromfile(project_root / 'configs/pretrain/flsl_vits16_300e.py')
    step = Step(cfg, fake_cuda, size=4, side=224)
    step()  # which also makes the optimizer's state
    launches = fake_cuda.count(step)
    assert 1000 < launches <= LAUNCHES, fake_cuda.launches.most_common(20)


@pytest.mark.parametrize('name', ['ViTFPN', 'ViTDet'])
def test_the_backbones_of_detectors_ask_for_none_either(name, fake_cuda):
    cfg = dict(type=name, embed_dims=64, depth=4, num_heads=2, with_cp=True)
    cfg['out_indices' if name == 'ViTFPN' else 'global_indices'] = [0, 1, 2, 3]
    backbone = MODELS.build(cfg).to('cuda:0').train()
    images = torch.zeros(2, 3, 100, 150).to('cuda:0')
    with torch.autocast('cuda', torch.bfloat16):
        maps = backbone(images)
    assert all(level.device.type == 'cuda' for level in maps)
    fake_cuda.backward(sum(level.float().sum() for level in maps))
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert all(p.grad.device.type == 'cuda' and p.grad.dtype == p.dtype for p in trained)


@pytest.mark.parametrize(
    'wrong',
    [
        lambda x: x.sum().item(),
        lambda x: x + torch.ones(3),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: bool((x > 0).all()),
    ],
    ids=['a number', 'a tensor left on the host', 'an index on the host', 'a condition'],
)
def test_what_waits_is_an_error_there(fake_cuda, wrong):
    with pytest.raises((RuntimeError, NotImplementedError)):
        wrong(torch.zeros(3).to('cuda:0'))

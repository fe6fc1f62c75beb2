"""The algorithm on one page: an oracle of the project's step, and a program."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.utils.data import default_collate

from flsl_mm.checkpoint import load_pretrained
from flsl_mm.datasets import UnlabeledImages


@pytest.fixture(scope='module')
def plain_step(load_tool):
    return load_tool('analysis_tools/plain_step')


def test_the_plain_twin_of_attention_has_the_same_results(plain_step):
    q, k, v = torch.randn(3, 2, 3, 12, 8, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(plain_step.plain_attention(q, k, v), expected)


OPTIONS = {
    'the defaults': {},
    'two pairs, Sinkhorn, a prior': dict(
        num_teacher_views=2, head=dict(teacher_norm='sinkhorn', prior=[1.0, 2.0] * 32)
    ),
    'positional positives, centering': dict(
        neck=dict(positional_positives=True), head=dict(teacher_norm='centering')
    ),
    'half of the tokens': dict(student_keep=0.5, neck=dict(random_queries=True)),
    'windows of the position table': dict(backbone=dict(position_window=(0.25, 1.0))),
    'half of the tokens, in windows': dict(
        student_keep=0.5, backbone=dict(position_window=(0.25, 1.0))
    ),
}


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
def test_four_plain_steps_give_the_weights_of_four_of_ours(plain_step, build_flsl, options):
    torch.manual_seed(0)
    init_default_scope('mmpretrain')
    head = dict(loss_weights=dict(volume=50.0), **options.get('head', {}))  # clipped
    ours = build_flsl(**{**options, 'head': head})
    ours.init_weights()
    ours.double().train()
    twin = copy.deepcopy(ours)
    before = copy.deepcopy(ours.state_dict())
    wrapper = build_optim_wrapper(
        ours,
        dict(
            type='FLSLOptimWrapper',
            constructor='TwoGroupConstructor',
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1, fused=True),
            clip_grad=dict(max_norm=0.01),
        ),
    )
    wrapper.optimizer.register_step_post_hook(lambda *_: ours.update_teacher())
    step = plain_step.PlainStep(twin, lr=1e-3, weight_decay=0.1, max_norm=0.01)
    for _ in range(4):
        sizes = (128, 128) * ours.num_teacher_views + (64, 64)
        views = [torch.randn(2, 3, size, size).double() for size in sizes]
        boxes = torch.tensor([[0.0, 0.0, 128.0, 128.0]] * len(views))
        samples = [DataSample(view_boxes=boxes) for _ in views[0]]
        state = torch.get_rng_state()
        loss, _ = ours.parse_losses(ours.loss(views, samples))
        wrapper.update_params(loss)
        torch.set_rng_state(state)  # the same queries
        assert step(views, samples=samples) == pytest.approx(loss.item(), rel=1e-10)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-8, atol=1e-10, msg=name)
    moved = [n for n, v in ours.state_dict().items() if not torch.equal(v, before[n])]
    assert any(name.startswith('teacher.') for name in moved)


PREPROCESSOR = dict(
    type='MultiViewPreprocessor',
    student_view=dict(size=32, scale=(0.5, 1.0)),
    local_views=dict(number=2, size=16, scale=(0.05, 0.4)),
)
PIPELINE = [
    dict(type='LoadRGBImage'),
    dict(type='RandomTeacherCrop', size=32),
    dict(type='PackTeacherCrop'),
]


@pytest.mark.parametrize('pairs', [1, 2])
def test_the_plain_twin_makes_the_same_kinds_of_views(plain_step, image_folder, pairs):
    preprocessor = MODELS.build({**PREPROCESSOR, 'num_teacher_views': pairs})
    images = UnlabeledImages(str(image_folder), pipeline=PIPELINE)
    torch.manual_seed(0)
    twin = plain_step.PlainViews(images, preprocessor)
    plain = default_collate([twin[i % 12] for i in range(240)])
    data = torch.stack([images[i % 12]['inputs'] for i in range(240)])
    samples = [images[0]['data_samples'] for _ in range(240)]
    ours = preprocessor(dict(inputs=data, data_samples=samples), training=True)['inputs']
    assert [view.shape for view in plain] == [view.shape for view in ours]
    for a, b in zip(plain, ours):
        # the same distribution: mean and spread of the colors of 240 views
        torch.testing.assert_close(a.mean((0, 2, 3)), b.mean((0, 2, 3)), atol=0.25, rtol=0)
        torch.testing.assert_close(a.std(), b.std(), atol=0.15, rtol=0)


def test_the_plain_twin_s_normalization_is_that_of_the_config(plain_step, image_folder):
    preprocessor = MODELS.build({**PREPROCESSOR, 'mean': (10, 20, 30), 'std': (50, 60, 70)})
    images = UnlabeledImages(str(image_folder), pipeline=PIPELINE)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    normalized = plain_step.PlainViews(images, preprocessor).normalize(pixels)
    expected = (pixels - np.array([10, 20, 30])) / np.array([50, 60, 70])
    assert np.allclose(normalized.permute(1, 2, 0), expected, atol=1e-5)


@pytest.fixture
def run(plain_step, tiny_config, tmp_path, image_folder):
    tiny_config.dump(str(tmp_path / 'tiny.py'))

    def call(*options: str) -> int:
        command = [str(tmp_path / 'tiny.py'), str(image_folder), '--device=cpu', '--batch-size=6']
        return plain_step.main([*command, *options])

    return call


def test_it_trains_on_a_folder_of_images_and_writes_a_checkpoint(
    run, plain_step, tiny_config, tmp_path, capsys
):
    out = tmp_path / 'new/plain.pth'
    assert run('--steps=3', f'--out={out}') == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(':')[0] for line in lines if ': loss ' in line] == [
        'step 1/3',
        'step 2/3',
        'step 3/3',
    ]
    start = plain_step.build_model(tiny_config.model, 'cpu')
    moved = copy.deepcopy(start.backbone)
    assert not load_pretrained(moved, str(out), key='student').new
    for before, after in zip(start.backbone.parameters(), moved.parameters()):
        assert not before.requires_grad or not torch.equal(before, after)


@pytest.mark.parametrize(
    'options, message',
    [
        (['--batch-size=13'], '12 images are fewer than --batch-size 13'),
        (['--cfg-options', 'model.neck.positional_positives=True'], 'plain views have no crop'),
        (['--cfg-options', 'model.type=DINO'], 'is not a pretraining with FLSL'),
    ],
)
def test_what_it_cannot_do_is_one_line(run, capsys, options, message):
    assert run(*options) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith('plain_step.py: error: ') and message in line

"""Losses, gradients and four training steps against the authors' released functions."""

import json
import math

import numpy as np
import pytest
import torch

from flsl_mm.checkpoint import convert_checkpoint, read_checkpoint
from flsl_mm.engine import TwoGroupConstructor

TERMS = ('intra', 'inter', 'volume')


@pytest.fixture(params=['step_multicrop', 'step_single_pair'])
def step(request, golden_dir, build_flsl, tmp_path):
    """The golden settings, arrays, and the model with the golden weights, in float64."""
    name = request.param
    settings = json.loads((golden_dir / f'{name}.json').read_text())
    model = build_flsl(
        neck=dict(self_scale=settings['self_scale'], cross_scale=settings['cross_scale']),
        head=dict(
            teacher_temp=settings['teacher_temp'],
            loss_weights=dict(zip(TERMS, settings['coefficients'])),
        ),
    )
    convert_checkpoint(golden_dir / f'{name}.pth', tmp_path / 'model.pth', to='mmpretrain')
    model.load_state_dict(read_checkpoint(tmp_path / 'model.pth')['state_dict'], strict=True)
    return settings, np.load(golden_dir / f'{name}.npz'), model.double()


def views(arrays, prefix: str = '') -> list[torch.Tensor]:
    names = sorted(name for name in arrays if name.startswith(f'{prefix}view.'))
    return [torch.from_numpy(arrays[name]).double() for name in names]


def objective(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(losses[f'loss_{term}'] for term in TERMS)


def our_name(released: str) -> str:
    from flsl_mm.checkpoint.layouts import Entry, to_our_names

    part, name = released.split('.', 1)
    if part == 'head':
        return released.replace('last_layer.weight_v', 'prototypes.weight')
    [name] = to_our_names({name: Entry(torch.zeros(1), (name,))})
    return f'{part}.{name}'


def test_losses_equal_the_golden_ones(step):
    settings, arrays, model = step
    losses = model.loss(views(arrays))
    for term, weight in zip(TERMS, settings['coefficients']):
        assert losses[f'loss_{term}'].item() == pytest.approx(
            weight * settings[f'loss_{term}'], rel=1e-12
        )
    assert objective(losses).item() == pytest.approx(settings['loss'], rel=1e-12)


def test_every_gradient_equals_the_golden_one(step):
    settings, arrays, model = step
    objective(model.loss(views(arrays))).backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert {our_name(n) for n in settings['grad_norm']} == set(grads)
    for name, norm in settings['grad_norm'].items():
        assert grads[our_name(name)].norm().item() == pytest.approx(norm, rel=1e-10), name
    stored = [name for name in arrays if name.startswith('grad.')]
    assert stored
    for name in stored:
        expected = torch.from_numpy(arrays[name]).double()  # kept in float32
        difference = grads[our_name(name[5:])] - expected
        assert difference.norm() <= 1e-6 * expected.norm(), name


def norm_of(*modules: torch.nn.Module, constants: float) -> float:
    squares = [p.square().sum().item() for module in modules for p in module.parameters()]
    return math.sqrt(sum(squares) + constants)


@pytest.mark.parametrize('step', ['step_multicrop'], indirect=True)
def test_four_training_steps_follow_the_golden_trajectory(step, golden_dir):
    settings, arrays, model = step
    trajectory = settings['trajectory']
    config = dict(
        type='FLSLOptimWrapper',
        clip_grad=dict(max_norm=trajectory['clip_grad_per_parameter']),
        optimizer=dict(
            type='AdamW', lr=0.0, betas=tuple(trajectory['betas']), eps=trajectory['eps']
        ),
    )
    wrapper = TwoGroupConstructor(config)(model)
    released = read_checkpoint(golden_dir / 'step_multicrop.pth')
    # Norms include what we do not have: the unused class token and the gains of the prototypes.
    extra = {
        network: released[network][f'{prefix}backbone.cls_token'].double().square().sum().item()
        + settings['num_prototypes']
        for network, prefix in (('student', 'module.'), ('teacher', ''))
    }
    frozen = False

    def freeze(*_) -> None:
        if frozen:
            model.head.prototypes.weight.grad = None

    wrapper.optimizer.register_step_pre_hook(freeze)
    wrapper.optimizer.register_step_post_hook(lambda *_: model.update_teacher())
    for i, expected in enumerate(trajectory['steps']):
        for group in wrapper.optimizer.param_groups:
            group['lr'] = expected['lr']
            if group['decayed']:
                group['weight_decay'] = expected['weight_decay']
        model.momentum, frozen = expected['momentum'], expected['freeze_last_layer']
        losses = model.loss(views(arrays, f'step{i}.' if i else ''))
        wrapper.update_params(objective(losses))
        assert objective(losses).item() == pytest.approx(expected['loss'], rel=1e-10)
        student = norm_of(model.backbone, model.head, constants=extra['student'])
        teacher = norm_of(model.teacher, constants=extra['teacher'])
        assert student == pytest.approx(expected['student_norm'], rel=1e-10)
        assert teacher == pytest.approx(expected['teacher_norm'], rel=1e-10)

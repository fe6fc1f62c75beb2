import math

import pytest
import torch
from torch.nn import functional as F

from flsl_mm.models import FLSLHead


def build(**kwargs) -> FLSLHead:
    torch.manual_seed(0)
    head = FLSLHead(
        **{
            **dict(in_channels=8, num_prototypes=12, hidden_channels=16, bottleneck_channels=6),
            **kwargs,
        }
    )
    head.init_weights()
    return head


def batch(count: int = 10, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Queries, modes, student logits, teacher logits."""
    generator = torch.Generator().manual_seed(1)
    widths = (8, 8, 12, 12)
    out = [torch.randn(count, w, generator=generator, dtype=torch.float64) for w in widths]
    return [x.to(dtype) for x in out]


def total(losses: dict) -> torch.Tensor:
    return sum(value for name, value in losses.items() if 'loss' in name)


def test_arguments_come_in_the_documented_order():
    weights = dict(intra=1.0, inter=2.0, volume=3.0)
    head = FLSLHead(8, 12, 16, 6, 2, 0.3, 0.2, weights)
    assert [tuple(p.shape) for p in head.parameters()] == [(16, 8), (16,), (6, 16), (6,), (12, 6)]
    assert (head.student_temp, head.teacher_temp, head.loss_weights) == (0.3, 0.2, weights)


def test_logits_are_cosines_with_the_prototypes():
    head = build()
    with torch.no_grad():
        head.prototypes.weight.mul_(7)
    x = torch.randn(5, 8)
    expected = F.cosine_similarity(head.mlp(x)[:, None], head.prototypes.weight[None], dim=-1)
    torch.testing.assert_close(head(x), expected)


def test_losses_are_the_equations():
    weights = dict(intra=0.5, inter=2.0, volume=3.0)
    head = build(loss_weights=weights, student_temp=0.3, teacher_temp=0.2)
    z, m, s, t = batch()
    losses = head.loss(z, m, s, t)
    p_s, p_t = (s / 0.3).softmax(-1), (t / 0.2).softmax(-1)
    intra = (F.normalize(z, dim=-1) - F.normalize(m, dim=-1)).pow(2).sum(-1).mean()
    inter = -(p_t * p_s.log()).sum(-1).mean()
    p_bar = p_s.mean(0)
    volume = (p_bar * p_bar.log()).sum() + math.log(12)
    torch.testing.assert_close(losses['loss_intra'], 0.5 * intra)
    torch.testing.assert_close(losses['loss_inter'], 2.0 * inter)
    torch.testing.assert_close(losses['loss_volume'], 3.0 * volume)
    assert losses['entropy_p_bar'].item() == pytest.approx(math.log(12) - volume.item())
    assert losses['max_p_t'].item() == pytest.approx(p_t.amax(-1).mean().item())
    assert losses['prototypes_used'].item() == len(t.argmax(-1).unique())
    assert losses['cos_token_mode'].item() == pytest.approx(1 - intra.item() / 2)


def test_a_prior_is_what_the_mean_prediction_is_compared_with():
    prior = torch.arange(1.0, 13)
    head = build(prior=prior.tolist(), loss_weights=dict(volume=1.0))
    z, m, s, t = batch()
    p_bar = (s / 0.1).softmax(-1).mean(0)
    expected = (p_bar * (p_bar / (prior / prior.sum())).log()).sum()
    torch.testing.assert_close(head.loss(z, m, s, t)['loss_volume'], expected)


def test_sinkhorn_normalizes_along_the_batch_then_along_the_prototypes():
    head = build(teacher_norm='sinkhorn', teacher_temp=0.5)
    logits = batch()[3]
    scaled = (logits / 0.5).exp()
    columns = scaled / scaled.sum(0)
    torch.testing.assert_close(
        head.teacher_predictions(logits), columns / columns.sum(1, keepdim=True)
    )


def test_centering_subtracts_a_running_mean_that_moves_in_training_only():
    head = build(teacher_norm='centering', teacher_temp=0.5, center_momentum=0.75).double()
    logits = batch()[3]
    torch.testing.assert_close(head.teacher_predictions(logits), (logits / 0.5).softmax(-1))
    center = 0.25 * logits.mean(0)
    torch.testing.assert_close(head.center, center)
    head.eval()
    torch.testing.assert_close(
        head.teacher_predictions(logits), ((logits - center) / 0.5).softmax(-1)
    )
    torch.testing.assert_close(head.center, center)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_losses_are_float32_whatever_the_activations(dtype):
    losses = build().loss(*batch(dtype=dtype))
    assert all(value.dtype == torch.float32 for value in losses.values())
    exact = build().loss(*(x.to(dtype).double() for x in batch()))
    for name, value in losses.items():
        assert value.item() == pytest.approx(exact[name].item(), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize('scale', [1e4, 1e-4])
@pytest.mark.parametrize('count', [1, 10])
@pytest.mark.parametrize('identical', [True, False])
@pytest.mark.parametrize('teacher_norm', [None, 'sinkhorn', 'centering'])
def test_extreme_inputs_give_finite_losses_and_gradients(scale, count, identical, teacher_norm):
    inputs = batch(count, torch.float32)
    if identical:
        inputs = [x[:1].repeat(count, 1) for x in inputs]
    inputs = [inputs[0], inputs[1], inputs[2] * scale, inputs[3] * scale]
    for x in inputs[:3]:
        x.requires_grad_()
    losses = build(teacher_norm=teacher_norm).loss(*inputs)
    total(losses).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(x.grad).all() for x in inputs[:3])


def test_zero_tokens_give_finite_gradients():
    inputs = batch(dtype=torch.float32)
    inputs[0] = torch.zeros_like(inputs[0]).requires_grad_()
    total(build().loss(*inputs)).backward()
    assert torch.isfinite(inputs[0].grad).all()


def test_weights_left_out_keep_the_papers():
    assert build(loss_weights=dict(intra=0.0)).loss_weights == dict(intra=0, inter=1, volume=5)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(loss_weights=dict(infra=1.0)), 'infra'),
        (dict(teacher_temp=0.0), 'temperatures must be positive'),
        (dict(num_prototypes=0), 'num_prototypes and num_layers must be at least 1'),
        (dict(num_layers=0), 'num_prototypes and num_layers must be at least 1'),
        (dict(teacher_norm='softmax'), 'teacher_norm'),
        (dict(prior=[0.5, 0.5]), '12 positive finite numbers'),
        (dict(prior=[0.0] * 12), '12 positive finite numbers'),
    ],
)
def test_bad_settings_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)

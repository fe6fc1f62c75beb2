import pytest
import torch


def views(count: int = 4, batch: int = 3, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [128, 128, 64, 64][:count]
    return [torch.randn(batch, 3, s, s, generator=generator) for s in sizes]


@pytest.fixture
def model(build_dino):
    torch.manual_seed(0)
    model = build_dino()
    model.init_weights()
    return model


def plain_loss(model, inputs: list[torch.Tensor]) -> torch.Tensor:
    """DINO's Algorithm 1, view by view and image by image."""

    def logits(backbone, head, view: torch.Tensor) -> torch.Tensor:
        tokens, prefix = backbone.forward_features(view)
        return head(prefix[:, 0] if prefix.shape[1] else tokens.mean(dim=1))

    count, head = model.num_teacher_views, model.head
    terms = []
    for teacher_view in inputs[:count]:
        t = logits(model.teacher.backbone, model.teacher.head, teacher_view)
        p_t = ((t - head.center) / head.teacher_temp).softmax(-1).detach()
        for student_view in inputs[count:]:
            p_s = (logits(model.backbone, head, student_view) / head.student_temp).softmax(-1)
            terms += [-(p_t[i] * p_s[i].log()).sum() for i in range(len(p_t))]
    return sum(terms) / len(terms)


@pytest.mark.parametrize('num_teacher_views', [1, 2])
@pytest.mark.parametrize('network', ['FLSLVisionTransformer', 'ClassTokenViT'])
def test_the_loss_is_the_formula_and_so_is_its_gradient(build_dino, network, num_teacher_views):
    torch.manual_seed(0)
    backbone = dict(type=network)
    model = build_dino(backbone=backbone, num_teacher_views=num_teacher_views).double()
    model.init_weights()
    with torch.no_grad():
        model.head.center.normal_(std=0.1)
        for parameter in model.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.eval()
    inputs = [view.double() for view in views()]
    losses = model.loss(inputs)
    expected = plain_loss(model, inputs)
    torch.testing.assert_close(losses['loss_dino'], expected)
    assert {name for name in losses if 'loss' in name} == {'loss_dino'}
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    actual = torch.autograd.grad(losses['loss_dino'], trained.values())
    for name, a, b in zip(trained, actual, torch.autograd.grad(expected, trained.values())):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10, msg=name)


def test_the_health_signs_are_those_of_the_predictions(model):
    model.eval()
    losses = model.loss(views(3))
    teacher, *students = model.backbone.forward_tokens(views(3))  # teacher and student are equal
    p_t = (model.head(teacher.mean(1)) / 0.04).softmax(-1)
    p_bar = torch.cat([(model.head(s.mean(1)) / 0.1).softmax(-1) for s in students]).mean(0)
    assert losses['max_p_t'].item() == pytest.approx(p_t.amax(-1).mean().item(), rel=1e-5)
    assert losses['prototypes_used'].item() == len(p_t.argmax(-1).unique())
    entropy = -(p_bar * p_bar.log()).sum().item()
    assert losses['entropy_p_bar'].item() == pytest.approx(entropy, rel=1e-5)


def test_the_center_moves_towards_the_teachers_logits_in_training_only(model):
    teacher = model.teacher.backbone.forward_tokens(views(1))[0].mean(1)
    logits = model.teacher.head(teacher)  # (B, K)
    model.eval()
    model.loss(views())
    assert not model.head.center.any()
    model.train()
    model.loss(views())
    torch.testing.assert_close(model.head.center, 0.1 * logits.mean(0))
    model.loss(views())
    torch.testing.assert_close(model.head.center, 0.19 * logits.mean(0))


def test_a_neck_is_refused(build_dino):
    with pytest.raises(ValueError, match='takes no neck'):
        build_dino(neck=dict(type='MeanShiftNeck', self_scale=1.0, cross_scale=1.0))


@pytest.mark.parametrize('dtype', [torch.bfloat16])
def test_autocast_changes_the_loss_by_rounding_only(model, dtype):
    exact = model.eval().loss(views())['loss_dino']
    with torch.autocast('cpu', dtype=dtype):
        cast = model.loss(views())['loss_dino']
    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize(
    'head, message',
    [(dict(teacher_temp=0.0), 'temperatures'), (dict(center_momentum=1.0), r'\[0, 1\)')],
)
def test_bad_settings_of_the_head_are_named(build_dino, head, message):
    with pytest.raises(ValueError, match=f'DINOHead: .*{message}'):
        build_dino(head=head)

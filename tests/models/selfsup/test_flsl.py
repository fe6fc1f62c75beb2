import pytest
import torch
from mmengine.structures import BaseDataElement


def views(count: int = 4, batch: int = 2, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [128, 128, 64, 64, 64][:count]
    return [torch.randn(batch, 3, s, s, generator=generator) for s in sizes]


def objective(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(value for name, value in losses.items() if 'loss' in name)


@pytest.fixture
def model(build_flsl):
    torch.manual_seed(0)
    model = build_flsl()
    model.init_weights()
    return model


def test_losses_carry_their_names_and_diagnostics_do_not(model):
    losses = model.loss(views())
    assert {n for n in losses if 'loss' in n} == {'loss_intra', 'loss_inter', 'loss_volume'}
    assert {
        'prototypes_used',
        'entropy_p_bar',
        'max_p_t',
        'attended_tokens',
        'cos_token_mode',
    } <= set(losses)
    parsed, log_vars = model.parse_losses(losses)
    torch.testing.assert_close(parsed, objective(losses))


@pytest.mark.parametrize('count', [2, 3, 5])
def test_any_number_of_local_views(model, count):
    losses = model.loss(views(count))
    objective(losses).backward()
    assert torch.isfinite(objective(losses))


def test_every_query_weighs_the_same(model):
    """One global view has 16 queries and a local one 4, so the local one weighs a quarter."""
    model.eval()
    both, only_global = (model.loss(views(c))['cos_token_mode'] for c in (3, 2))
    teacher, student, local = views(3)
    only_local = model.loss([teacher, local])['cos_token_mode']
    torch.testing.assert_close(both, (16 * only_global + 4 * only_local) / 20)


def test_the_teacher_prediction_is_a_constant_of_the_objective(model, monkeypatch):
    """Gradient would flow through the student's query into the positive and from there."""
    seen = []
    loss = model.head.loss
    monkeypatch.setattr(model.head, 'loss', lambda *args: seen.extend(args) or loss(*args))
    model.loss(views())
    queries, modes, student_logits, teacher_logits = seen
    assert queries.requires_grad and modes.requires_grad and student_logits.requires_grad
    assert not teacher_logits.requires_grad


def test_with_two_pairs_each_student_queries_the_other_teacher(build_flsl):
    torch.manual_seed(0)
    model = build_flsl(num_teacher_views=2)
    model.init_weights()
    model.eval()
    t1, t2, s1, s2 = views(2) + views(2, seed=1)
    crossed = model.loss([t1, t2, s1, s2])['loss_inter']
    model.num_teacher_views = 1
    first, second = model.loss([t2, s1])['loss_inter'], model.loss([t1, s2])['loss_inter']
    torch.testing.assert_close(crossed, (first + second) / 2)


def test_positional_positives_use_the_boxes_of_the_data_samples(build_flsl):
    torch.manual_seed(0)
    model = build_flsl(neck=dict(positional_positives=True))
    model.init_weights()
    model.eval()
    box = torch.tensor([[0.0, 0, 100, 100]] * 2)
    samples = [BaseDataElement(view_boxes=box) for _ in range(2)]
    image = views(1)[0]
    losses = model.loss([image, image], samples)
    # Same image and box: every positive is the query itself.
    tokens = model.backbone.forward_tokens([image])[0].view(2, 8, 8, -1)[:, ::2, ::2].flatten(0, 2)
    p_t = (model.head(tokens) / model.head.teacher_temp).softmax(-1)
    assert losses['max_p_t'].item() == pytest.approx(p_t.amax(-1).mean().item(), rel=1e-5)


def test_without_boxes_positional_positives_say_what_is_missing(build_flsl):
    model = build_flsl(neck=dict(positional_positives=True))
    with pytest.raises(ValueError, match='need the crop box of every view'):
        model.loss(views(2), [BaseDataElement() for _ in range(2)])


def test_the_mode_is_the_third_argument_as_everywhere_in_openmmlab(build_flsl):
    model = build_flsl()
    assert model(views(2), None, 'loss').keys() == model.loss(views(2)).keys()


def test_the_multi_stage_option_needs_weights_and_clean_views(build_flsl, model, tmp_path):
    arch = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192)
    previous = dict(type='FLSLVisionTransformer', arch=arch, img_size=128, patch_size=16)
    with pytest.raises(ValueError, match='needs the weights of an earlier run'):
        build_flsl(previous_teacher=previous)
    torch.save(model.backbone.state_dict(), tmp_path / 'vit.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'))
    staged = build_flsl(previous_teacher=dict(previous, init_cfg=init_cfg))
    staged.init_weights()
    staged.load_state_dict(model.state_dict(), strict=False)
    staged.eval(), model.eval()
    assert torch.equal(staged.previous_teacher.ln1.weight, model.backbone.ln1.weight)
    assert not any(p.requires_grad for p in staged.previous_teacher.parameters())
    with pytest.raises(ValueError, match='clean_views=True'):
        staged.loss(views())
    plain = model.loss(views())['loss_inter']
    staged.neck.previous_mix = 1.0
    torch.testing.assert_close(staged.loss(views(), clean_inputs=views())['loss_inter'], plain)
    staged.neck.previous_mix = 0.0
    mixed = staged.loss(views(), clean_inputs=views(seed=5))['loss_inter']
    assert not torch.isclose(mixed, plain)


@pytest.mark.parametrize('dtype', [torch.bfloat16])
def test_autocast_changes_losses_by_rounding_only(model, dtype):
    exact = model.eval().loss(views())
    with torch.autocast('cpu', dtype=dtype):
        cast = model.loss(views())
    for name in ('loss_intra', 'loss_inter', 'loss_volume'):
        assert cast[name].dtype == torch.float32
        assert cast[name].item() == pytest.approx(exact[name].item(), rel=0.02, abs=0.02)


def test_a_batch_of_one_constant_image_gives_finite_gradients(model):
    objective(model.loss([torch.zeros(1, 3, s, s) for s in (128, 128, 32)])).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_log_says_whether_tokens_are_places_and_queries_find_theirs(model):
    box = torch.tensor([[0.0, 0, 100, 100]] * 2)
    image = views(1)[0]
    losses = model.eval().loss([image, image], [BaseDataElement(view_boxes=box)] * 2)
    assert losses['matching_accuracy'] == 1  # the same image, box and network
    assert 0 <= losses['place_share'] <= 1
    alike = image[:1].expand(2, -1, -1, -1)
    assert model.loss([alike, alike])['place_share'] > 0.99
    assert 'matching_accuracy' not in model.loss([image, image])


def test_a_scale_that_finds_itself_is_saved_with_the_model(build_flsl, model):
    automatic = dict(self_scale='auto', cross_scale=None, attended_tokens=5.0)
    found, other = build_flsl(neck=automatic), build_flsl(neck=automatic)
    found.init_weights()
    losses = found.loss(views())
    assert losses['attended_tokens'].item() > 5  # it falls to it, as tokens part
    assert losses['self_scale'].item() == pytest.approx(found.neck.self_scale)
    other.load_state_dict(found.state_dict())
    assert other.neck.self_scale == found.neck.self_scale
    # A scale found is no weight: files with and without one fit models with and without.
    model.load_state_dict(found.state_dict())
    other.load_state_dict(model.state_dict())
    assert other.neck.self_scale == found.neck.self_scale

"""What FLSL and DINO have in common."""

import copy

import pytest
import torch


def views(count: int = 4, batch: int = 2, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [128, 128, 64, 64, 64][:count]
    return [torch.randn(batch, 3, s, s, generator=generator) for s in sizes]


def objective(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(value for name, value in losses.items() if 'loss' in name)


def networks_equal(model) -> bool:
    student = {**model.backbone.state_dict(), **model.head.state_dict()}
    teacher = {**model.teacher.backbone.state_dict(), **model.teacher.head.state_dict()}
    return all(torch.equal(student[k], teacher[k]) for k in student)


def randomize(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.1)


@pytest.fixture(params=['FLSL', 'DINO'])
def build(request, build_flsl, build_dino):
    return dict(FLSL=build_flsl, DINO=build_dino)[request.param]


@pytest.fixture
def model(build):
    torch.manual_seed(0)
    model = build()
    model.init_weights()
    return model


def test_state_dict_has_the_documented_prefixes(model):
    prefixes = {'backbone', 'head', 'teacher'}
    assert {name.split('.')[0] for name in model.state_dict()} == prefixes
    teacher = {n[8:] for n in model.state_dict() if n.startswith('teacher.')}
    assert teacher == {n for n in model.state_dict() if not n.startswith('teacher.')}


def test_the_teacher_gets_no_gradient_and_stays_in_evaluation_mode(model):
    model.train()
    objective(model.loss(views())).backward()
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert model.backbone.training and not any(m.training for m in model.teacher.modules())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_the_teacher_equals_the_student_after_initialization(model):
    assert networks_equal(model)


def test_loading_a_student_alone_gives_its_teacher(build, model):
    randomize(model)
    student = {k: v for k, v in model.state_dict().items() if not k.startswith('teacher.')}
    other = build()
    other.load_state_dict(student, strict=True)
    assert networks_equal(other)
    assert torch.equal(other.head.prototypes.weight, model.head.prototypes.weight)


def test_loading_a_whole_model_keeps_its_teacher(build, model):
    randomize(model)
    other = build()
    other.load_state_dict(model.state_dict())
    assert not networks_equal(other)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize('whole', [True, False])
def test_initializing_from_a_checkpoint_follows_the_same_rule(build, model, tmp_path, whole):
    randomize(model)
    weights = model.state_dict()
    if not whole:
        weights = {k: v for k, v in weights.items() if not k.startswith('teacher.')}
    torch.save(dict(state_dict=weights), tmp_path / 'model.pth')
    other = build(pretrained=str(tmp_path / 'model.pth'))
    other.init_weights()
    assert torch.equal(other.backbone.ln1.weight, model.backbone.ln1.weight)
    assert networks_equal(other) != whole


def test_a_backbone_initialized_from_a_checkpoint_is_the_teachers_too(build, model, tmp_path):
    randomize(model.backbone)
    torch.save(model.backbone.state_dict(), tmp_path / 'vit.pth')
    config = dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'))
    other = build(backbone=dict(init_cfg=config))
    other.init_weights()
    assert torch.equal(other.teacher.backbone.ln1.bias, model.backbone.ln1.bias)
    assert networks_equal(other)


def test_a_file_of_something_else_leaves_the_teacher_equal(build, tmp_path):
    torch.save(dict(state_dict={'foo.weight': torch.ones(1)}), tmp_path / 'other.pth')
    other = build(pretrained=str(tmp_path / 'other.pth'))
    other.init_weights()
    assert networks_equal(other)


def test_initializing_twice_changes_nothing(model):
    randomize(model)
    before = copy.deepcopy(model.state_dict())
    model.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_teacher_moves_by_the_momentum(model):
    before = copy.deepcopy(model.teacher.state_dict())
    randomize(model.backbone)
    randomize(model.head)
    model.momentum = 0.75
    model.update_teacher()
    student = model.state_dict()
    for name, value in model.teacher.state_dict().items():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * student[name])


def test_images_are_encoded_in_tensor_mode(model):
    assert model(views(1)[0], mode='tensor')[-1].shape == (2, 48, 8, 8)


@pytest.mark.parametrize(
    'kwargs, message', [(dict(num_teacher_views=3), '1 or 2'), (dict(momentum=1.1), r'\[0, 1\]')]
)
def test_bad_settings_are_named(build, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_missing_views_are_named(model):
    with pytest.raises(ValueError, match='1 teacher and 1 student views are needed, got 1'):
        model.loss(views(1))


@pytest.fixture
def windowed(build):
    """A model that reads its positions in windows, and one with its weights that does not."""
    torch.manual_seed(0)
    plain, model = build(), build(backbone=dict(position_window=(0.25, 0.5)))
    plain.init_weights()
    model.load_state_dict(plain.state_dict())
    return model, plain


def test_windows_are_drawn_in_training_only_for_both_networks(windowed):
    for training, same in ((True, False), (False, True)):
        found = []
        for model in windowed:
            torch.manual_seed(1)
            found.append([x for part in model.train(training).encode(views()) for x in part])
        assert all(torch.equal(a, b) is same for a, b in zip(*found, strict=True))


def test_windows_differ_between_views_and_images_and_follow_the_seed(windowed):
    model = windowed[0].train()
    image = torch.randn(1, 3, 128, 128).expand(2, -1, -1, -1)

    def encode(seed):
        torch.manual_seed(seed)
        return [x for part in model.encode([image, image]) for x in part]

    (student, teacher), again, other = encode(0), encode(0), encode(1)
    assert torch.equal(student, again[0]) and torch.equal(teacher, again[1])
    assert not torch.allclose(student, other[0])
    assert not torch.allclose(student, teacher)  # the two networks have the same weights
    assert not torch.allclose(student[0], student[1])


def test_with_two_pairs_each_view_has_its_own_window(build):
    torch.manual_seed(0)
    model = build(num_teacher_views=2, backbone=dict(position_window=(0.25, 1.0)))
    model.init_weights()
    image = views(1)[0]
    students, teachers = model.train().encode([image] * 4)
    found = [*students, *teachers]
    assert not any(torch.allclose(a, b) for i, a in enumerate(found) for b in found[:i])
    assert 'place_share' in model.loss([image] * 4)


def test_no_random_number_is_drawn_without_windows(windowed):
    plain = windowed[1].train()
    state = torch.get_rng_state()
    plain.encode(views())
    assert torch.equal(torch.get_rng_state(), state)

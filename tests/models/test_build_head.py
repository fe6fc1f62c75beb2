import pytest
import torch

from flsl_mm.checkpoint import CheckpointError, loading
from flsl_mm.models import build_vit
from flsl_mm.models.build_head import build_head


@pytest.fixture
def saved(build_flsl, tmp_path):
    """A small FLSL model with random weights, and its file."""

    def save(change=lambda state: None, cfg='', **kwargs):
        model = build_flsl(**kwargs)
        for i, parameter in enumerate(model.parameters()):
            parameter.data = torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(i)
            )
        state = model.state_dict()
        change(state)
        path = str(tmp_path / 'model.pth')
        torch.save(dict(state_dict=state, meta=dict(num_heads=3, cfg=cfg)), path)
        return model, path

    return save


@pytest.mark.parametrize('head', [{}, dict(num_layers=1), dict(teacher_norm='centering')])
def test_the_head_is_that_of_the_network(saved, head):
    model, path = saved(head=head)
    tokens = torch.randn(5, 48)
    for key, expected in (('student', model.head), (None, model.teacher.head)):
        found = build_head(path, key)
        torch.testing.assert_close(found(tokens), expected(tokens))
        assert not any(p.requires_grad for p in found.parameters())


def test_the_scale_of_training_is_read_from_the_config(saved):
    _, path = saved(cfg="model = dict(neck=dict(self_scale=0.02, type='MeanShiftNeck'))")
    assert build_head(path).self_scale == 0.02
    for cfg in ('', 'model = build()', 'model = dict(neck=None)'):
        _, path = saved(cfg=cfg)
        assert build_head(path).self_scale is None


def test_a_scale_that_found_itself_is_read_from_the_weights(saved):
    cfg = "model = dict(neck=dict(self_scale='auto', type='MeanShiftNeck'))"
    model, path = saved(cfg=cfg, neck=dict(self_scale='auto', cross_scale=None))
    assert build_head(path).self_scale is None  # not yet
    model.loss([torch.randn(2, 3, 64, 64)] * 2)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(num_heads=3, cfg=cfg)), path)
    assert build_head(path).self_scale == pytest.approx(model.neck.self_scale)


def test_released_files_have_heads(golden_dir):
    student, teacher = (
        build_head(golden_dir / 'step_single_pair.pth', key) for key in ('student', None)
    )
    assert student.state_dict().keys() == teacher.state_dict().keys()


def test_files_of_backbones_have_none(saved):
    def drop_heads(state):
        for name in [name for name in state if 'head.' in name]:
            del state[name]

    _, path = saved(drop_heads)
    assert build_head(path) is None
    vit = build_vit('random:deit-tiny/16')
    assert build_head(vit.state_dict()) is None


def test_a_head_with_parts_missing_is_an_error(saved):
    _, path = saved(lambda state: state.pop('teacher.head.mlp.2.bias'))
    with pytest.raises(CheckpointError, match='model.pth: the head of the teacher: .*mlp.2.bias'):
        build_head(path)
    _, path = saved(lambda state: state.pop('teacher.head.prototypes.weight'))
    with pytest.raises(CheckpointError, match='model.pth: lacks the head of the teacher'):
        build_head(path)


def test_a_vit_keeps_its_head_when_asked_to(saved):
    model, path = saved()
    tokens = torch.randn(5, 48)
    vit = build_vit(path, with_head=True)
    torch.testing.assert_close(vit.head(tokens), model.teacher.head(tokens))
    assert not hasattr(build_vit(path), 'head')
    assert build_vit(f'random:{path}', with_head=True).head is None


def test_a_vit_with_its_head_comes_from_one_reading(saved, monkeypatch):
    _, path = saved()
    read, paths = loading.read_checkpoint, []
    monkeypatch.setattr(
        loading, 'read_checkpoint', lambda path, trust: paths.append(path) or read(path, trust)
    )
    build_vit(path, with_head=True)
    assert paths == [path]

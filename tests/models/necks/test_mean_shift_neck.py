import pytest
import torch

from flsl_mm.models.mean_shift import mean_shift, mean_shift_weights, sharpen
from flsl_mm.models.necks import MeanShiftNeck, ViewPair

GRID = (4, 4)


def tokens(seed: int, count: int = 16) -> torch.Tensor:
    return torch.randn(2, count, 8, generator=torch.Generator().manual_seed(seed))


def pair(**kwargs) -> ViewPair:
    return ViewPair(
        **{
            **dict(
                kind='global',
                student=tokens(0),
                student_grid=GRID,
                teacher=tokens(1),
                teacher_grid=GRID,
            ),
            **kwargs,
        }
    )


def test_modes_come_from_the_own_view_and_positives_from_the_teacher():
    neck = MeanShiftNeck(0.3, 0.6)
    out = neck([pair()])
    queries = tokens(0)[:, [0, 2, 8, 10]]
    torch.testing.assert_close(out.queries, queries.flatten(0, 1))
    torch.testing.assert_close(out.modes, mean_shift(queries, tokens(0), 0.3).flatten(0, 1))
    torch.testing.assert_close(out.positives, mean_shift(queries, tokens(1), 0.6).flatten(0, 1))


def test_windows_depend_on_the_kind_of_view():
    neck = MeanShiftNeck(0.3, 0.6, window_sizes={'global': 4, 'local': 1})
    assert len(neck([pair()]).queries) == 2
    assert len(neck([pair(kind='local')]).queries) == 2 * 16
    assert len(neck([pair(), pair(kind='local')]).queries) == 2 * 17


def test_attended_tokens_range_from_one_to_all():
    spread = MeanShiftNeck(1e-9, 1e-9)([pair()]).attended_tokens
    peaked = MeanShiftNeck(1e3, 1e3)([pair(student=tokens(0) * 10)]).attended_tokens
    assert spread.item() == pytest.approx(16, rel=1e-4)
    assert 1 <= peaked.item() < 1.01


def test_gradient_flows_through_query_and_mode_but_not_through_the_positive():
    student = tokens(0).requires_grad_()
    out = MeanShiftNeck(0.3, 0.6)([pair(student=student)])
    assert out.queries.requires_grad and out.modes.requires_grad and not out.positives.requires_grad


def test_positional_positives_are_the_teacher_features_at_the_projected_positions():
    neck = MeanShiftNeck(0.3, 0.6, positional_positives=True)
    box = torch.tensor([[0.0, 0, 40, 40]] * 2)
    out = neck([pair(boxes=(box, box))])
    torch.testing.assert_close(out.positives, tokens(1)[:, [0, 2, 8, 10]].flatten(0, 1))
    half = torch.tensor([[20.0, 20, 40, 40]] * 2)  # the student sees the lower right quarter
    out = neck([pair(student=tokens(0, 4), student_grid=(2, 2), boxes=(half, box))])
    torch.testing.assert_close(out.positives, tokens(1)[:, 10])


def test_positional_positives_without_boxes_say_what_is_missing():
    with pytest.raises(ValueError, match='view_boxes'):
        MeanShiftNeck(0.3, 0.6, positional_positives=True)([pair()])


@pytest.mark.parametrize('mix', [0.0, 0.3, 1.0])
def test_the_multi_stage_option_mixes_in_the_attention_of_an_earlier_teacher(mix):
    neck = MeanShiftNeck(0.3, 0.6, previous_mix=mix, previous_sharpness=20.0)
    out = neck([pair(previous=(tokens(2), tokens(3)))])
    index = [0, 2, 8, 10]
    now = mean_shift_weights(tokens(0)[:, index], tokens(1), 0.6)
    before = sharpen(mean_shift_weights(tokens(2)[:, index], tokens(3), 0.6), 20.0)
    expected = (mix * now + (1 - mix) * before) @ tokens(1)
    torch.testing.assert_close(out.positives, expected.flatten(0, 1))


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(self_scale=0.0), 'scales must be positive'),
        (dict(window_sizes={'global': 2}), "for 'local'"),
        (dict(window_sizes={'global': 2, 'local': 0}), 'positive size'),
        (dict(previous_mix=1.5), 'previous_mix'),
    ],
)
def test_bad_settings_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MeanShiftNeck(**{**dict(self_scale=0.1, cross_scale=0.2), **kwargs})

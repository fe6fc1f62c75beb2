import math

import pytest
import torch
import torch.nn.functional as F

from flsl_mm.models.mean_shift import (
    effective_number,
    mean_shift,
    mean_shift_weights,
    sharpen,
    spread_tokens,
)
from flsl_mm.models.necks import MeanShiftNeck, ViewPair
from flsl_mm.models.necks.mean_shift_neck import SOLVED_BATCHES
from flsl_mm.utils.errors import ConfigError, TrainingStopped

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
        (dict(self_scale='automatic'), "a number or 'auto'"),
        (dict(self_scale='auto', attended_tokens=1), 'attended_tokens must be above 1'),
        (dict(cross_ratio=0), 'cross_ratio above 0'),
        (dict(place_width=-1), 'place_width at least 0'),
    ],
)
def test_bad_settings_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MeanShiftNeck(**{**dict(self_scale=0.1, cross_scale=0.2), **kwargs})


def test_without_a_cross_scale_it_is_twice_the_self_scale():
    assert MeanShiftNeck(0.3).cross_scale == 0.6
    assert MeanShiftNeck(0.3, cross_ratio=3.0).cross_scale == pytest.approx(0.9)


@pytest.mark.parametrize('wanted', [1.5, 4.0, 12.0])
@pytest.mark.parametrize('norm', [0.1, 1.0, 30.0])
def test_an_automatic_scale_gives_the_wanted_number_of_tokens(wanted, norm):
    every = {'global': 1, 'local': 1}
    neck = MeanShiftNeck('auto', None, every, attended_tokens=wanted, cross_ratio=3.0)
    views = [norm * tokens(i) for i in range(2)]
    neck([pair(student=views[0]), pair(student=views[1], kind='local')])
    parted = [spread_tokens(view) for view in views]
    weights = torch.cat([mean_shift_weights(x, x, neck.self_scale) for x in parted])
    assert effective_number(weights).mean().item() == pytest.approx(wanted, rel=1e-4)
    assert neck.cross_scale == pytest.approx(3 * neck.self_scale)


def test_what_all_tokens_have_in_common_does_not_make_the_scale_sharper():
    parted = F.normalize(tokens(0) - tokens(0).mean(dim=1, keepdim=True), dim=-1)
    common = F.normalize(torch.ones(8), dim=0)
    scales = []
    for share in (0.0, 0.9):  # of the length that tokens have
        neck = MeanShiftNeck('auto')
        across = parted - (parted @ common).unsqueeze(-1) * common
        alike = (1 - share**2) ** 0.5 * F.normalize(across, dim=-1) + share * common
        neck([pair(student=alike)])
        scales.append(neck.self_scale)
    assert scales[1] == pytest.approx(scales[0], rel=1e-3)


def test_an_automatic_scale_is_the_geometric_mean_of_the_first_batches_and_stays():
    def batch(i):
        return [pair(student=tokens(i))]

    alone = []
    for i in range(SOLVED_BATCHES):
        neck = MeanShiftNeck('auto')
        neck(batch(i))
        alone.append(math.log(neck.self_scale))
    neck = MeanShiftNeck('auto')
    for i in range(SOLVED_BATCHES + 5):
        neck(batch(i))
    assert math.log(neck.self_scale) == pytest.approx(sum(alone) / SOLVED_BATCHES)


def test_another_wanted_number_is_solved_for_anew():
    neck = MeanShiftNeck('auto', attended_tokens=8.0)
    for _ in range(SOLVED_BATCHES):
        neck([pair()])
    before = neck.self_scale
    neck.attended_tokens = 2.0  # as a schedule does
    neck([pair()])
    assert neck.self_scale > 1.5 * before


def test_an_automatic_scale_goes_on_where_its_state_was_saved():
    whole, first, second = (MeanShiftNeck('auto') for _ in range(3))
    batches = [[pair(student=tokens(i))] for i in range(SOLVED_BATCHES + 1)]
    for batch in batches:
        whole(batch)
    for batch in batches[:3]:
        first(batch)
    second.load_state_dict(first.state_dict())
    assert second.self_scale == first.self_scale
    for batch in batches[3:]:
        second(batch)
    assert (second.self_scale, second.cross_scale) == (whole.self_scale, whole.cross_scale)
    assert not MeanShiftNeck(0.3, 0.6).state_dict()


@pytest.mark.parametrize(
    'wanted, student, error, message',
    [
        (16.0, tokens(0), ConfigError, 'attended_tokens=16 is not below the 16 tokens'),
        (4.0, torch.ones(2, 16, 8), TrainingStopped, 'tokens of a view are alike'),
    ],
)
def test_a_number_of_tokens_that_no_scale_gives_is_named(wanted, student, error, message):
    with pytest.raises(error, match=message):
        MeanShiftNeck('auto', attended_tokens=wanted)([pair(student=student)])


def test_the_prior_of_place_goes_from_positions_to_cross_attention():
    box = torch.tensor([[0.0, 0, 40, 40]] * 2)
    with_boxes = pair(boxes=(box, box), previous=None)

    def positives(**kwargs):
        return MeanShiftNeck(0.3, 0.6, **kwargs)([with_boxes]).positives

    by_place, paper = positives(positional_positives=True), positives()
    torch.testing.assert_close(positives(place_width=0), by_place)
    torch.testing.assert_close(positives(place_width=0.05), by_place)  # queries at token centers
    torch.testing.assert_close(positives(place_width=1e4), paper)
    weights = mean_shift_weights(tokens(0)[:, [0, 2, 8, 10]], tokens(1), 0.6)
    places = torch.stack([torch.arange(16) % 4, torch.arange(16) // 4], -1).float()
    prior = (torch.cdist(places[[0, 2, 8, 10]], places) ** 2 / (-2 * 1.5**2)).exp()
    weights = weights * prior
    expected = (weights / weights.sum(-1, keepdim=True)) @ tokens(1)
    torch.testing.assert_close(positives(place_width=1.5), expected.flatten(0, 1))
    with pytest.raises(ValueError, match='view_boxes'):
        MeanShiftNeck(0.3, 0.6, place_width=1.0)([pair()])


def test_matching_accuracy_is_one_for_a_view_and_itself_and_unknown_without_boxes():
    box = torch.tensor([[0.0, 0, 40, 40]] * 2)
    neck = MeanShiftNeck(0.3, 0.6)
    assert neck([pair(teacher=tokens(0), boxes=(box, box))]).matching_accuracy == 1
    # What matches lies in the mirrored place, three or one columns off.
    mirrored = tokens(0).unflatten(1, GRID).flip(2).flatten(1, 2)
    assert neck([pair(teacher=mirrored, boxes=(box, box))]).matching_accuracy == 0.5
    assert neck([pair()]).matching_accuracy is None

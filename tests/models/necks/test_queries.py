import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flsl_mm.models.layers.positions import gather_tokens
from flsl_mm.models.necks.queries import (
    project_queries,
    sample_tokens,
    window_queries,
)


def test_the_top_left_token_of_every_window_is_a_query():
    assert window_queries((4, 6), 2, batch=2).tolist() == [[0, 2, 4, 12, 14, 16]] * 2


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    window=st.integers(1, 4),
    random_queries=st.booleans(),
    seed=st.integers(0, 50),
)
def test_every_query_lies_in_a_window_of_its_own(rows, columns, window, random_queries, seed):
    if window > min(rows, columns):
        with pytest.raises(ValueError, match='does not fit'):
            window_queries((rows, columns), window, 1)
        return
    torch.manual_seed(seed)
    indices = window_queries((rows, columns), window, 3, random_queries)
    count = (rows // window) * (columns // window)
    assert indices.shape == (3, count)
    for chosen in indices:
        blocks = set()
        y, x = chosen // columns, chosen % columns
        for offset_y in {0, rows % window}:
            for offset_x in {0, columns % window}:
                inside = (y >= offset_y) & (x >= offset_x)
                if inside.all():
                    blocks.add(
                        len(
                            {
                                (a, b)
                                for a, b in zip(
                                    ((y - offset_y) // window).tolist(),
                                    ((x - offset_x) // window).tolist(),
                                )
                            }
                        )
                    )
        assert count in blocks


def test_random_queries_reach_every_token_and_differ_between_images():
    torch.manual_seed(0)
    drawn = torch.cat([window_queries((4, 4), 2, 8, random_queries=True) for _ in range(20)])
    assert set(drawn.flatten().tolist()) == set(range(16))
    assert len({tuple(row) for row in drawn.tolist()}) > 50


def test_a_grid_that_the_window_does_not_divide_uses_every_corner():
    torch.manual_seed(0)
    firsts = {window_queries((5, 5), 2, 1)[0, 0].item() for _ in range(60)}
    assert firsts == {0, 1, 5, 6}


def test_gathering_picks_tokens():
    tokens = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    picked = gather_tokens(tokens, torch.tensor([[4, 0], [1, 1]]))
    assert torch.equal(picked[0], tokens[0, [4, 0]]) and torch.equal(picked[1], tokens[1, [1, 1]])


def test_projection_follows_the_crop_boxes():
    # The view is the right half of the other one, on a 2 x 4 grid.
    points = project_queries(
        torch.tensor([[0, 7]]),
        (2, 4),
        torch.tensor([[50.0, 0, 100, 40]]),
        torch.tensor([[0.0, 0, 100, 40]]),
    )
    expected = torch.tensor([[[0.5 + 0.125 / 2, 0.25], [0.5 + 0.875 / 2, 0.75]]])
    torch.testing.assert_close(points, expected)


def test_sampling_at_token_centers_returns_the_tokens():
    tokens = torch.randn(2, 12, 5)
    indices = torch.arange(12).expand(2, -1)
    box = torch.tensor([[0.0, 0, 1, 1]] * 2)
    points = project_queries(indices, (3, 4), box, box)
    torch.testing.assert_close(sample_tokens(tokens, (3, 4), points), tokens)


def test_sampling_between_tokens_is_bilinear():
    tokens = torch.tensor([[[0.0], [1.0]]])
    points = torch.tensor([[[0.5, 0.5], [0.0, 0.5], [2.0, 0.5]]])
    torch.testing.assert_close(
        sample_tokens(tokens, (1, 2), points), torch.tensor([[[0.5], [0.0], [1.0]]])
    )

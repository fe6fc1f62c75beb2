import pytest
import torch

from flsl_mm.models.mean_shift import effective_number
from flsl_mm.visualization.token_maps import mode_regions

GROUPS = torch.tensor([0] * 6 + [1] * 2)
TOKENS = torch.eye(2)[GROUPS] * 10


@pytest.mark.parametrize('iterate', [False, True])
def test_the_mode_of_a_token_is_made_of_its_own_group(iterate):
    masks = mode_regions(TOKENS, torch.tensor([0, 7]), scale=1.0, iterate=iterate)
    torch.testing.assert_close(masks[0], (GROUPS == 0) / 6)
    torch.testing.assert_close(masks[1], (GROUPS == 1) / 2)
    torch.testing.assert_close(effective_number(masks), torch.tensor([6.0, 2.0]))


def test_a_small_scale_makes_the_whole_image_one_region():
    masks = mode_regions(TOKENS, torch.tensor([0]), scale=1e-6)
    torch.testing.assert_close(masks[0], torch.full((8,), 1 / 8), atol=1e-4, rtol=0)


def test_iterated_queries_of_one_basin_share_their_region():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.eye(2)[GROUPS] * 4 + 0.3 * torch.randn(8, 2, generator=generator)
    once = mode_regions(tokens, torch.arange(8), scale=1.0)
    rested = mode_regions(tokens, torch.arange(8), scale=1.0, iterate=True)
    assert not torch.allclose(once[0], once[1], atol=1e-3)
    torch.testing.assert_close(rested[:6], rested[:1].expand(6, -1), atol=1e-2, rtol=0)
    moved = rested @ tokens  # the modes do not move any more
    again = torch.softmax(moved @ tokens.T, dim=-1) @ tokens
    torch.testing.assert_close(again, moved, atol=1e-2, rtol=0)

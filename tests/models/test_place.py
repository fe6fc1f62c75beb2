import pytest
import torch

from flsl_mm.models.place import (
    finds_its_place,
    mean_place_share,
    place_bias,
    place_moments,
    place_share,
)


def share(tokens: torch.Tensor) -> float:
    return mean_place_share([tokens]).item()


PLACES = torch.randn(1, 36, 16, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(8, 1, 16, generator=torch.Generator().manual_seed(1))
CONTENT = torch.randn(8, 36, 16, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    'tokens, expected',
    [
        (PLACES.expand(8, -1, -1), 1),
        (IMAGES.expand(-1, 36, -1), 0),
        (CONTENT, 0),
        (torch.ones(8, 36, 16), 0),
        (PLACES + CONTENT, 0.5),
        (PLACES + IMAGES, 0.5),
    ],
)
def test_the_share_of_the_place_is_that_of_the_variance(tokens, expected):
    assert share(tokens) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize('batch', [2, 4, 32])
def test_few_images_do_not_raise_the_share(batch):
    """Means of two images of noise differ by half of its variance."""
    generator = torch.Generator().manual_seed(batch)
    found = [share(torch.randn(batch, 100, 32, generator=generator)) for _ in range(20)]
    assert sum(found) / 20 < 0.02
    mixed = [share(PLACES + torch.randn(batch, 36, 16, generator=generator)) for _ in range(20)]
    assert sum(mixed) / 20 == pytest.approx(0.5, abs=0.05)


def test_moments_add_up_over_batches():
    parts = [place_moments(x) for x in (CONTENT[:3], CONTENT[3:])]
    summed = [sum(x) for x in zip(*parts)]
    torch.testing.assert_close(place_share(*summed), place_share(*place_moments(CONTENT)))


def test_a_single_image_gives_a_number_too():
    assert 0 <= share(CONTENT[:1]) <= 1 and 0 <= share(torch.zeros(1, 4, 8)) <= 1


def test_queries_find_their_place_within_one_token():
    keys = torch.eye(9).unsqueeze(0)  # of a 3 x 3 grid
    center = torch.full((1, 9, 2), 0.5)
    found = finds_its_place(keys, keys, (3, 3), center)
    assert found.tolist() == [[0, 1, 0, 1, 1, 1, 0, 1, 0]]  # not what is one off in both axes
    assert finds_its_place(7 * keys, keys, (3, 3), center + 0.5).sum() == 1


def test_the_prior_of_place_is_a_gaussian_in_tokens():
    bias = place_bias(torch.tensor([[[0.5 / 4, 0.5]]]), (1, 4), width=2.0)
    torch.testing.assert_close(bias, torch.tensor([[[0.0, -1 / 8, -4 / 8, -9 / 8]]]))

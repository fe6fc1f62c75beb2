import torch

from flsl_mm.utils.images import IMAGENET_MEAN, IMAGENET_STD, normalize


def test_pixels_have_mean_0_and_deviation_1_by_channel():
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    images = torch.stack([mean, mean + std, mean - 2 * std])[..., None, None].expand(3, 3, 2, 5)
    expected = torch.tensor([0.0, 1.0, -2.0])[:, None, None, None].expand(3, 3, 2, 5)
    torch.testing.assert_close(normalize(images), expected, atol=1e-6, rtol=0)


def test_eight_bits_are_taken_as_they_are():
    images = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    assert torch.equal(normalize(images), normalize(images.float()))
    assert normalize(images).dtype == torch.float32

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from flsl_mm.models.data_preprocessors.resized_crop import (
    channels_last,
    resample_weights,
    resized_crop_looped,
    resized_crops,
    resized_crops_batched,
)

BOXES = torch.tensor([[0, 0, 64, 48], [5, 7, 40, 30], [60, 40, 64, 48], [10, 0, 11, 48]])


def noise(height=48, width=64):
    generator = torch.Generator().manual_seed(0)
    shape = (len(BOXES), 3, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def resized_crop_batched(images, boxes, size):
    """The batched form of one crop of each image."""
    return resized_crops_batched(images / 255, boxes[None], size)[0]


def unit(crops):
    """The looped form's bytes as the batched form's floats."""
    assert crops.dtype in (torch.uint8, torch.float32)
    return crops / 255 if crops.dtype == torch.uint8 else crops


def smooth(height=48, width=64):
    return TF.gaussian_blur(noise(height, width), 9, 3.0)


@pytest.mark.parametrize('resample', [resized_crop_looped, resized_crop_batched])
@pytest.mark.parametrize('size', [16, 48, 96])
def test_crops_are_pil_s_crop_and_bicubic_resize_to_a_rounding(resample, size):
    for images in (noise(), smooth()):
        crops = unit(resample(images, BOXES, size))
        assert crops.shape == (len(BOXES), 3, size, size)
        assert crops.min() >= 0 and crops.max() <= 1
        for image, box, crop in zip(images, BOXES.tolist(), crops, strict=True):
            expected = Image.fromarray(image.permute(1, 2, 0).numpy()).crop(box)
            expected = expected.resize((size, size), Image.Resampling.BICUBIC)
            gap = np.abs(crop.permute(1, 2, 0).numpy() * 255 - np.asarray(expected))
            assert gap.max() < 2.01 and (gap > 1.01).mean() < 0.01


@pytest.mark.parametrize('size', [16, 96])
def test_both_forms_are_torchvision_s_resized_crop(size):
    images = smooth()
    looped = unit(resized_crop_looped(images, BOXES, size))
    batched = resized_crop_batched(images, BOXES, size)
    for i, (x1, y1, x2, y2) in enumerate(BOXES.tolist()):
        args = (y1, x1, y2 - y1, x2 - x1, [size, size], InterpolationMode.BICUBIC, True)
        in_bytes = TF.resized_crop(images[i], *args) / 255
        torch.testing.assert_close(looped[i], in_bytes, atol=1.01 / 255, rtol=0)
        expected = TF.resized_crop(images[i].float() / 255, *args).clamp(0, 1)
        torch.testing.assert_close(batched[i], expected, atol=1e-5, rtol=0)


def test_channels_last_changes_the_memory_only():
    images = noise()
    last = channels_last(images)
    assert torch.equal(last, images)
    assert last.is_contiguous(memory_format=torch.channels_last)
    for form in (resized_crop_looped, resized_crop_batched):
        assert torch.equal(form(last, BOXES, 24), form(images, BOXES, 24))


def test_on_a_cpu_the_loop_is_taken():
    [crops] = resized_crops(noise(), [BOXES], 24)
    assert torch.equal(crops, resized_crop_looped(noise(), BOXES, 24))


@pytest.mark.parametrize('height', [48, 64])  # where it is square, both axes go together
def test_several_crops_together_are_those_one_by_one(height):
    boxes = torch.stack([BOXES, BOXES.flip(0)])
    together = resized_crops_batched(noise(height) / 255, boxes, 24)
    assert together.shape == (2, len(BOXES), 3, 24, 24)
    for crops, box in zip(together, boxes):
        torch.testing.assert_close(crops, resized_crop_batched(noise(height), box, 24))


def test_the_whole_image_at_its_own_size_is_unchanged():
    images = noise(40, 40)
    boxes = torch.tensor([[0, 0, 40, 40]]).expand(len(images), 4)
    for resample in (resized_crop_looped, resized_crop_batched):
        torch.testing.assert_close(unit(resample(images, boxes, 40)), images / 255)


@settings(deadline=None)
@given(
    start=st.integers(0, 99),
    extent=st.integers(1, 100),
    out_size=st.integers(1, 150),
)
def test_weights_sum_to_one_and_stay_in_the_box(start, extent, out_size):
    stop = min(start + extent, 100)
    bounds = torch.tensor([float(start)]), torch.tensor([float(stop)])
    weights = resample_weights(*bounds, 100, out_size)
    assert weights.shape == (1, out_size, 100)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, out_size), atol=1e-4, rtol=0)
    assert not weights[:, :, :start].any() and not weights[:, :, stop:].any()

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.transforms import functional as TF

from flsl_mm.models.data_preprocessors import photometry as ph
from flsl_mm.models.data_preprocessors.photometry import Photometry


def images(count=4, size=24):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 3, size, size, generator=generator)
    pixels[0, :, :8] = pixels[0, :1, :8]  # grey: no hue
    pixels[0, 0, 8:16] = pixels[0, 1, 8:16]  # two channels equal
    pixels[1, :, :4] = 0.0
    pixels[1, :, 4:8] = 1.0
    return pixels


OPERATIONS = {
    'brightness': (ph.adjust_brightness, TF.adjust_brightness, [0.0, 0.6, 1.0, 1.4]),
    'contrast': (ph.adjust_contrast, TF.adjust_contrast, [0.0, 0.6, 1.0, 1.4]),
    'saturation': (ph.adjust_saturation, TF.adjust_saturation, [0.0, 0.8, 1.0, 1.2]),
    'hue': (ph.adjust_hue, TF.adjust_hue, [-0.1, 0.0, 0.1, 0.5]),
    'solarize': (ph.solarize, TF.solarize, [0.0, 0.5, 0.9, 1.0]),
}


@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_are_torchvision_s_with_a_parameter_of_each_sample(name):
    ours, theirs, values = OPERATIONS[name]
    before = images()
    result = ours(before, torch.tensor(values))
    expected = torch.stack([theirs(x, v) for x, v in zip(images(), values, strict=True)])
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    assert torch.equal(before, images())


def test_greyscale_is_torchvision_s_and_the_same_as_no_saturation():
    grey = TF.rgb_to_grayscale(images(), num_output_channels=3)
    torch.testing.assert_close(ph.to_grayscale(images()).expand_as(grey), grey)
    torch.testing.assert_close(ph.adjust_saturation(images(), torch.zeros(4)), grey)


def test_blur_is_torchvision_s_with_repeated_edges():
    sigma = [0.1, 0.7, 1.5, 2.0]
    blurred = ph.gaussian_blur(images(), torch.tensor(sigma), radius=6)
    padded = torch.nn.functional.pad(images(), (12,) * 4, mode='replicate')
    for i, s in enumerate(sigma):
        expected = TF.gaussian_blur(padded[i], 13, s)[:, 12:-12, 12:-12]
        torch.testing.assert_close(blurred[i], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('radius', [0.5, 1.0, 2.0])
def test_blur_is_close_to_pil_s_approximation(radius):
    pixels = (images()[2].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    ours = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    ours = ph.gaussian_blur(ours, torch.tensor([radius]), radius=6)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours * 255 - theirs).mean() < 3


def test_the_looped_and_the_batched_form_agree():
    torch.manual_seed(0)
    steps = Photometry().draw(32)
    looped, batched = images(32), images(32)
    ph.apply_steps_looped(looped, steps)
    ph.apply_steps_batched(batched, steps)
    torch.testing.assert_close(looped, batched, atol=1e-6, rtol=0)
    assert not torch.equal(looped, images(32))


def test_each_sample_goes_through_its_own_operations_in_its_own_order():
    torch.manual_seed(0)
    steps = Photometry().draw(8)
    result = ph.apply_steps(images(8), steps)
    orders = set()
    for i in range(8):
        expected, names = images(8)[i : i + 1], []
        for operation, samples, values in steps:
            for value in values[samples == i].tolist():
                expected = operation(expected, torch.tensor([value]))
                names.append(str(operation))
        orders.add(tuple(names))
        torch.testing.assert_close(result[i : i + 1], expected, atol=1e-6, rtol=0)
    assert len(orders) > 5


def drawn(count=20000, **settings):
    """Samples and values per operation, and the order of the jitter of every sample."""
    torch.manual_seed(0)
    photometry = Photometry(**settings)
    found, order = {}, [[] for _ in range(count)]
    for operation, samples, values in photometry.draw(count):
        name = 'blur' if operation is photometry.blur else operation.__name__
        if name == 'adjust_saturation' and not values.any():
            name = 'grayscale'
        found.setdefault(name, []).append((samples, values))
        if operation in ph.JITTER and name != 'grayscale':
            for i in samples.tolist():
                order[i].append(name)
    found = {
        name: (torch.cat([s for s, _ in parts]), torch.cat([v for _, v in parts]))
        for name, parts in found.items()
    }
    return found, [tuple(names) for names in order]


def test_probabilities_are_those_of_the_recipe():
    found, order = drawn()
    shares = {name: len(samples) / 20000 for name, (samples, _) in found.items()}
    expected = {
        'adjust_brightness': 0.8,
        'adjust_contrast': 0.8,
        'adjust_saturation': 0.8,
        'adjust_hue': 0.8,
        'grayscale': 0.2,
        'blur': 0.5 * 0.5 + 0.5 * 0.1,
        'solarize': 0.5 * 0.2,
    }
    assert shares == pytest.approx(expected, abs=0.012)
    # all four or none; all 24 orders, equally often
    counts = {names: order.count(names) for names in set(order)}
    assert counts.pop(()) == pytest.approx(4000, abs=250)
    assert len(counts) == 24 and all(len(names) == 4 for names in counts)
    assert min(counts.values()) > 560 and max(counts.values()) < 780


def test_blur_and_solarisation_belong_to_equally_likely_endings():
    found, _ = drawn()
    blurred, solarized = set(found['blur'][0].tolist()), set(found['solarize'][0].tolist())
    # only the second ending solarises, and it blurs one view in ten
    assert len(blurred & solarized) / len(solarized) == pytest.approx(0.1, abs=0.02)
    found, _ = drawn(endings=[(1.0, 0.0), (0.0, 1.0)])
    blurred, solarized = set(found['blur'][0].tolist()), set(found['solarize'][0].tolist())
    assert not blurred & solarized and len(blurred | solarized) == 20000


@pytest.mark.parametrize(
    'name, low, high',
    [
        ('adjust_brightness', 0.6, 1.4),
        ('adjust_contrast', 0.6, 1.4),
        ('adjust_saturation', 0.8, 1.2),
        ('adjust_hue', -0.1, 0.1),
        ('blur', 0.1, 2.0),
    ],
)
def test_parameters_are_uniform_over_their_range(name, low, high):
    samples, values = drawn()[0][name]
    assert low <= values.min() and values.max() <= high
    share = (values.double() - low) / (high - low)
    for q in (0.01, 0.25, 0.5, 0.75, 0.99):
        assert share.quantile(q).item() == pytest.approx(q, abs=0.02)
    assert len(set(samples.tolist())) == len(samples)  # once a sample


def test_strong_jitter_does_not_get_negative_factors():
    values = drawn(brightness=1.5)[0]['adjust_brightness'][1]
    assert values.min() >= 0 and values.max() > 2.4


def test_the_seed_decides_and_batch_mates_draw_equally_much():
    torch.manual_seed(3)
    first = Photometry()(images())
    torch.manual_seed(3)
    assert torch.equal(first, Photometry()(images()))
    torch.manual_seed(3)
    Photometry(jitter_prob=0.0, grayscale_prob=0.0)(images())
    after = torch.rand(1)
    torch.manual_seed(3)
    Photometry()(images())
    assert torch.equal(torch.rand(1), after)


def test_values_stay_between_black_and_white():
    torch.manual_seed(0)
    result = Photometry(brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5)(images(64))
    assert result.min() >= 0 and result.max() <= 1 + 1e-6


def test_everything_off_changes_nothing():
    settings = dict(jitter_prob=0.0, grayscale_prob=0.0, endings=[(0.0, 0.0)])
    assert torch.equal(Photometry(**settings)(images()), images())


@pytest.mark.parametrize(
    'settings, words',
    [
        (dict(brightness=-0.1), 'strengths'),
        (dict(hue=0.6), 'hue'),
        (dict(jitter_prob=1.2), 'probabilities'),
        (dict(endings=[(0.5, 2.0)]), 'probabilities'),
        (dict(endings=[]), 'endings'),
        (dict(blur_sigma=(0.0, 2.0)), 'blur_sigma'),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ValueError, match=f'photometry: {words}'):
        Photometry(**settings)

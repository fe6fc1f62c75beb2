import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import functional as TF

from flsl_mm.models.data_preprocessors import photometry as ph
from flsl_mm.models.data_preprocessors.photometry import Photometry


def images(count=4, size=24):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(count, 3, size, size, generator=generator)
    pixels[0, :, :8] = pixels[0, :1, :8]  # gray: no hue
    pixels[0, 0, 8:16] = pixels[0, 1, 8:16]  # two channels equal
    pixels[1, :, :4] = 0.0
    pixels[1, :, 4:8] = 1.0
    return pixels


def together(operation, images, values):
    """What the batched form makes of images (n, 3, H, W)."""
    step = ph.ColorStep(operation, torch.arange(len(images)), values)
    return ph.render_batched([images], [[step]], *AS_THEY_ARE)[0]


def one_by_one(operation, image, value):
    """What the single form makes of an image (3, H, W)."""
    pixels = image.permute(1, 2, 0).contiguous().numpy().copy()
    operation.single(pixels, value)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def blur_with_repeated_edges(image, sigma):
    padded = torch.nn.functional.pad(image[None], (12,) * 4, mode='replicate')
    return TF.gaussian_blur(padded, 13, sigma)[0, :, 12:-12, 12:-12]


BLUR = Photometry().blur
OPERATIONS = {
    'brightness': (ph.BRIGHTNESS, TF.adjust_brightness, [0.0, 0.6, 1.0, 1.4]),
    'contrast': (ph.CONTRAST, TF.adjust_contrast, [0.0, 0.6, 1.0, 1.4]),
    'saturation': (ph.SATURATION, TF.adjust_saturation, [0.0, 0.8, 1.0, 1.2]),
    'hue': (ph.HUE, TF.adjust_hue, [-0.1, 0.0, 0.1, 0.5]),
    'backward hue': (ph.HUE, TF.adjust_hue, [-0.5, -0.3, -0.05, -0.001]),
    'blur': (BLUR, blur_with_repeated_edges, [0.1, 0.7, 1.5, 2.0]),
    'solarize': (ph.SOLARIZE, TF.solarize, [0.0, 0.5, 0.9, 1.0]),
}


@pytest.mark.parametrize('form', ['batched', 'single'])
@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_are_torchvision_s_with_a_parameter_of_each_sample(name, form):
    ours, theirs, values = OPERATIONS[name]
    before = images()
    if form == 'batched':
        result = together(ours, before, torch.tensor(values))
        assert torch.equal(before, images())
    else:
        result = torch.stack([one_by_one(ours, *pair) for pair in zip(before, values, strict=True)])
    expected = torch.stack([theirs(x, v) for x, v in zip(images(), values, strict=True)])
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def photograph():
    """Smooth shapes with edges, every color and brightness (H, W, 3), uint8."""
    y, x = np.mgrid[:96, :128] / 96
    waves = [np.sin(7 * x + 3 * y), np.sin(5 * y - 4 * x + 1), np.sin(9 * x * y + 2)]
    pixels = 0.5 + 0.5 * np.stack(waves, axis=2)
    pixels[20:60, 30:70] = pixels[20:60, 30:70, ::-1] * 0.7
    pixels = pixels**1.5 + np.random.default_rng(0).normal(0, 0.02, pixels.shape)
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)


def pil_blur(image, sigma):
    return image.filter(ImageFilter.GaussianBlur(sigma))


# Parameters over the recipe's range; largest difference in 8-bit levels where the two can be equal
# (PIL rounds each result, and the mean gray; its hue has 256 steps and its blur is of boxes).
ON_PIL = {
    'brightness': (ph.BRIGHTNESS, TF.adjust_brightness, [0.6, 0.9, 1.4], 1.0),
    'contrast': (ph.CONTRAST, TF.adjust_contrast, [0.6, 0.9, 1.4], 1.3),
    'saturation': (ph.SATURATION, TF.adjust_saturation, [0.8, 0.9, 1.2], 1.3),
    'grayscale': (ph.SATURATION, lambda x, _: x.convert('L').convert('RGB'), [0.0], 1.0),
    'hue': (ph.HUE, TF.adjust_hue, [-0.1, 0.03, 0.1], None),
    'blur': (BLUR, pil_blur, [0.1, 0.8, 2.0], None),
    'solarize': (ph.SOLARIZE, lambda x, v: ImageOps.solarize(x, round(v * 255)), [0.5], 0.01),
}


@pytest.mark.parametrize('form', ['batched', 'single'])
@pytest.mark.parametrize('name', ON_PIL)
def test_colors_are_distributed_as_those_of_torchvision_on_pil_images(name, form):
    ours, theirs, values, levels = ON_PIL[name]
    pixels = photograph()
    for value in values:
        expected = np.asarray(theirs(Image.fromarray(pixels), value)).astype(float)
        image = torch.from_numpy(pixels).permute(2, 0, 1) / 255
        if form == 'batched':
            result = together(ours, image[None], torch.tensor([value]))[0]
        else:
            result = one_by_one(ours, image, value)
        result = result.permute(1, 2, 0).numpy() * 255
        if levels is not None:
            assert np.abs(result - expected).max() <= levels + 1e-3
        gap = result.mean((0, 1)) - expected.mean((0, 1))
        assert np.abs(gap).max() < 0.8  # of 255: PIL cuts off where we keep fractions
        for channel in range(3):
            ranks = np.sort(result[..., channel], axis=None), np.sort(expected[..., channel], None)
            assert np.abs(ranks[0] - ranks[1]).mean() < 1.0  # distance of the histograms
    unchanged = pixels.astype(float)
    assert np.abs(expected - unchanged).mean() > 1.5  # the distance that doing nothing would have


def test_grayscale_is_torchvision_s_and_the_same_as_no_saturation():
    gray = TF.rgb_to_grayscale(images(), num_output_channels=3)
    torch.testing.assert_close(ph.to_grayscale(images()).expand_as(gray), gray)
    torch.testing.assert_close(together(ph.SATURATION, images(), torch.zeros(4)), gray)


@pytest.mark.parametrize('radius', [0.5, 1.0, 2.0])
def test_blur_is_close_to_pil_s_approximation(radius):
    pixels = (images()[2].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    ours = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    ours = ph.gaussian_blur(ours, torch.tensor([radius]), radius=6)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours * 255 - theirs).mean() < 3


GAIN, SHIFT = torch.tensor([4.0, 3.0, 2.0]).view(3, 1, 1), torch.tensor([-1.0]).view(1, 1, 1)
AS_THEY_ARE = torch.ones(3, 1, 1), torch.zeros(3, 1, 1)


def in_bytes(count):
    return (images(count) * 255).round().to(torch.uint8)


@pytest.mark.parametrize('views', [images(32), in_bytes(32)], ids=['floats', 'bytes'])
def test_the_looped_and_the_batched_form_agree(views):
    torch.manual_seed(0)
    steps, before = Photometry().draw(32), views.clone()
    looped = ph.render_looped(views, steps, GAIN, SHIFT)
    [batched] = ph.render_batched([views], [steps], GAIN, SHIFT)
    torch.testing.assert_close(looped, batched, atol=2e-5, rtol=0)
    assert not torch.allclose(looped, ph.render_looped(views, (), GAIN, SHIFT), atol=0.1)
    assert torch.equal(views, before)
    assert looped.is_contiguous() and batched.is_contiguous()


@pytest.mark.parametrize('size', [24, 16])
def test_views_rendered_together_are_those_rendered_one_by_one(monkeypatch, size):
    """What is drawn for each view stays its own."""
    views = [images(8), in_bytes(8), images(8, size)]
    torch.manual_seed(0)
    photometry = Photometry()
    steps = [photometry.draw(8) for _ in views]
    alone = [ph.render_batched([v], [s], GAIN, SHIFT)[0] for v, s in zip(views, steps)]
    monkeypatch.setattr(torch.Tensor, 'is_cpu', False)
    for one, other in zip(ph.render(views, steps, GAIN, SHIFT), alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


FORMS = {
    'looped': ph.render_looped,
    'batched': lambda view, steps, *args: ph.render_batched([view], [steps], *args)[0],
}


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_without_photometry_views_are_normalized(form):
    expected = images() * GAIN + SHIFT
    torch.testing.assert_close(form(images(), (), GAIN, SHIFT), expected)
    last = in_bytes(4).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(form(last, (), GAIN, SHIFT), in_bytes(4) / 255 * GAIN + SHIFT)


def test_on_a_cpu_the_loop_is_taken():
    torch.manual_seed(0)
    steps = Photometry().draw(4)
    looped = ph.render_looped(images(), steps, GAIN, SHIFT)
    assert torch.equal(ph.render([images()], [steps], GAIN, SHIFT)[0], looped)


def recolor(views, **settings):
    return ph.render([views], [Photometry(**settings).draw(len(views))], *AS_THEY_ARE)[0]


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_each_sample_goes_through_its_own_operations_in_its_own_order(form):
    torch.manual_seed(0)
    steps = Photometry().draw(8)
    result = form(images(8), steps, *AS_THEY_ARE)
    orders = set()
    for i in range(8):
        expected, names = images(8)[i : i + 1], []
        for operation, samples, values in steps:
            for value in values[samples == i].tolist():
                expected = together(operation, expected, torch.tensor([value]))
                names.append(operation.name)
        orders.add(tuple(names))
        torch.testing.assert_close(result[i : i + 1], expected, atol=1e-5, rtol=0)
    assert len(orders) > 5


def drawn(count=20000, **settings):
    """Samples and values per operation, and the order of the jitter of every sample."""
    torch.manual_seed(0)
    photometry = Photometry(**settings)
    found, order = {}, [[] for _ in range(count)]
    for operation, samples, values in photometry.draw(count):
        name = operation.name
        if operation is ph.SATURATION and not values.any():
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
        'brightness': 0.8,
        'contrast': 0.8,
        'saturation': 0.8,
        'hue': 0.8,
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


def test_blur_and_solarization_belong_to_equally_likely_endings():
    found, _ = drawn()
    blurred, solarized = set(found['blur'][0].tolist()), set(found['solarize'][0].tolist())
    # only the second ending solarizes, and it blurs one view in ten
    assert len(blurred & solarized) / len(solarized) == pytest.approx(0.1, abs=0.02)
    found, _ = drawn(endings=[(1.0, 0.0), (0.0, 1.0)])
    blurred, solarized = set(found['blur'][0].tolist()), set(found['solarize'][0].tolist())
    assert not blurred & solarized and len(blurred | solarized) == 20000


@pytest.mark.parametrize(
    'name, low, high',
    [
        ('brightness', 0.6, 1.4),
        ('contrast', 0.6, 1.4),
        ('saturation', 0.8, 1.2),
        ('hue', -0.1, 0.1),
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
    values = drawn(brightness=1.5)[0]['brightness'][1]
    assert values.min() >= 0 and values.max() > 2.4


def test_the_seed_decides_and_batch_mates_draw_equally_much():
    torch.manual_seed(3)
    first = recolor(images())
    torch.manual_seed(3)
    assert torch.equal(first, recolor(images()))
    torch.manual_seed(3)
    recolor(images(), jitter_prob=0.0, grayscale_prob=0.0)
    after = torch.rand(1)
    torch.manual_seed(3)
    recolor(images())
    assert torch.equal(torch.rand(1), after)


def test_values_stay_between_black_and_white():
    torch.manual_seed(0)
    result = recolor(images(64), brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5)
    assert result.min() >= 0 and result.max() <= 1 + 1e-6


def test_everything_off_changes_nothing():
    settings = dict(jitter_prob=0.0, grayscale_prob=0.0, endings=[(0.0, 0.0)])
    assert torch.equal(recolor(images(), **settings), images())


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


def random_photometry(count, size):
    """Images of one size and the values of photometry of many strengths."""
    torch.manual_seed(size)
    pixels = torch.rand(count, 3, size, size)
    return pixels, ph.plan_colors(Photometry(hue=0.3).draw(count), count)


def test_the_batched_form_is_one_graph_for_a_size_whatever_is_drawn():
    graphs = []

    def count(graph, inputs):
        graphs.append(tuple(inputs[0].shape))
        return graph

    compiled = torch.compile(ph.recolor, backend=count, fullgraph=True, dynamic=False)
    for size in (24, 16, 24, 16, 24):
        pixels, values = random_photometry(8, size)
        assert torch.equal(compiled(pixels, values, 6), ph.recolor(pixels, values, 6))
    assert len(graphs) == 2, graphs


@pytest.mark.slow
def test_compiled_it_has_equal_results_in_a_third_of_the_calls():
    from torch._inductor import metrics
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            returned = function._schema.returns
            is_view = all(r.alias_info and not r.alias_info.is_write for r in returned)
            self.number += not is_view
            return function(*args, **(kwargs or {}))

    pixels, values = random_photometry(8, 32)
    with Calls() as calls:
        expected = ph.recolor(pixels, values, 6)
    metrics.reset()
    compiled = torch.compile(ph.recolor, fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(pixels, values, 6), expected, atol=1e-5, rtol=0)
    assert 0 < 3 * metrics.generated_kernel_count <= calls.number


def test_compiled_photometry_makes_the_views_of_devices_other_than_a_cpu():
    from flsl_mm.models.data_preprocessors import MultiViewPreprocessor

    preprocessor, sizes = MultiViewPreprocessor(), []
    preprocessor.compile_photometry(backend='eager')

    def spy(pixels, values, radius):
        sizes.append((len(pixels), pixels.shape[-1], radius))
        return pixels

    preprocessor.compiled = spy
    for device in ('cpu', 'meta'):
        views = [torch.rand(8, 3, size, size, device=device) for size in (24, 24, 16)]
        preprocessor.to(device).render(views, [preprocessor.draw(8) for _ in views])
    assert sizes == [(16, 24, 6), (8, 16, 6)]

"""Views and normalization of images of other channels than RGB."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.structures import DataSample

from flsl_mm.models.data_preprocessors import ManyChannelPreprocessor, MultiViewPreprocessor
from flsl_mm.models.data_preprocessors import photometry as ph
from flsl_mm.models.data_preprocessors.photometry import Photometry
from flsl_mm.models.data_preprocessors.resized_crop import (
    channels_last,
    resized_crop_looped,
    resized_crops_batched,
)
from flsl_mm.utils.errors import ConfigError, DataError

FORMS = {
    'looped': ph.render_looped,
    'batched': lambda view, steps, *args: ph.render_batched([view], [steps], *args)[0],
}


def noise(channels, count=8, size=24):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, size, size, generator=generator)


def as_they_are(channels):
    return torch.ones(channels, 1, 1), torch.zeros(channels, 1, 1)


def apply(form, images, operation, value):
    steps = [ph.ColorStep(operation, torch.arange(len(images)), torch.full((len(images),), value))]
    return form(images, steps, *as_they_are(images.shape[1]))


@pytest.mark.parametrize('channels', [1, 2, 4, 5, 13])
@pytest.mark.parametrize('in_bytes', [False, True])
def test_the_looped_and_the_batched_form_agree(channels, in_bytes):
    views = noise(channels, 32)
    views = (views * 255).round().to(torch.uint8) if in_bytes else views
    torch.manual_seed(0)
    steps = Photometry().draw(32)
    gain, shift = torch.rand(channels, 1, 1) + 1, torch.rand(channels, 1, 1)
    looped, batched = (form(views, steps, gain, shift) for form in FORMS.values())
    assert looped.shape == views.shape and looped.is_contiguous()
    torch.testing.assert_close(looped, batched, atol=2e-5, rtol=0)


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_the_first_three_channels_are_recolored_like_an_image_of_them_alone(form):
    images = noise(6, 32)
    torch.manual_seed(0)
    steps = Photometry().draw(32)
    found = form(images, steps, *as_they_are(6))[:, :3]
    torch.testing.assert_close(found, form(images[:, :3].clone(), steps, *as_they_are(3)))


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    'operation, value', [(ph.SATURATION, 0.0), (ph.SATURATION, 1.2), (ph.HUE, 0.3)]
)
def test_operations_on_colors_leave_other_channels_alone(form, operation, value):
    for channels in (1, 2, 5):
        images, colors = noise(channels), 3 * (channels >= 3)
        found = apply(form, images, operation, value)
        torch.testing.assert_close(found[:, colors:], images[:, colors:])
    assert not torch.allclose(found[:, :3], images[:, :3], atol=0.1)


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_solarization_is_of_the_first_three(form):
    for channels in (1, 2, 5):
        images = noise(channels)
        found = apply(form, images, ph.SOLARIZE, 0.5)
        inverted = torch.where(images >= 0.5, 1 - images, images)
        torch.testing.assert_close(found[:, :3], inverted[:, :3])
        torch.testing.assert_close(found[:, 3:], images[:, 3:])


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_brightness_contrast_and_blur_are_of_every_channel(form):
    images = noise(5)
    brighter = apply(form, images, ph.BRIGHTNESS, 1.4)
    torch.testing.assert_close(brighter, (images * 1.4).clamp(max=1))
    flatter = apply(form, images, ph.CONTRAST, 0.6)[:, 3:]
    means = images[:, 3:].mean((-2, -1), keepdim=True)
    torch.testing.assert_close(flatter, images[:, 3:] * 0.6 + 0.4 * means)
    blurred = apply(form, images, Photometry().blur, 1.5)
    for channel in range(5):
        alone = apply(form, images[:, channel : channel + 1], Photometry().blur, 1.5)
        torch.testing.assert_close(blurred[:, channel], alone[:, 0])


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
def test_gray_of_one_channel_is_recolored_like_gray_of_three(form):
    gray = noise(1, 32)
    torch.manual_seed(0)
    steps = Photometry().draw(32)
    found = form(gray, steps, *as_they_are(1))
    expected = form(gray.expand(-1, 3, -1, -1).contiguous(), steps, *as_they_are(3))
    # the weights of red, green and blue sum to 0.9999
    torch.testing.assert_close(found, expected.mean(1, keepdim=True), atol=1e-3, rtol=0)


@pytest.mark.parametrize('channels', [1, 2, 4, 13])
def test_every_channel_is_cut_like_an_image_of_its_own(channels):
    images = (noise(channels, 3, 48) * 255).to(torch.uint8)
    boxes = torch.tensor([[0, 0, 48, 48], [5, 7, 40, 30], [10, 0, 11, 48]])
    stored = channels_last(images)
    assert torch.equal(stored, images)
    looped = resized_crop_looped(stored, boxes, 16)
    batched = resized_crops_batched(images / 255, boxes[None], 16)[0]
    for i in range(channels):
        alone = resized_crop_looped(channels_last(images[:, i : i + 1]), boxes, 16)
        assert (looped[:, i].int() - alone[:, 0].int()).abs().max() <= 1
        assert (batched[:, i] * 255 - alone[:, 0]).abs().max() < 2.01


def build_views(channels):
    return MultiViewPreprocessor(
        student_view=dict(size=16, scale=(0.5, 1.0)),
        local_views=dict(number=2, size=8, scale=(0.05, 0.4)),
        mean=[10.0 * i for i in range(channels)],
        std=[50.0 + i for i in range(channels)],
    )


@pytest.mark.parametrize('channels', [1, 2, 4, 7])
def test_views_have_all_channels_each_with_its_own_statistics(channels):
    images = (noise(channels, 3, 32) * 255).to(torch.uint8)
    samples = [DataSample(metainfo=dict(teacher_box=(0, 0, 32, 32))) for _ in images]
    preprocessor = build_views(channels)
    views = preprocessor(dict(inputs=images, data_samples=samples), training=True)['inputs']
    assert [tuple(v.shape) for v in views] == [(3, channels, side, side) for side in (32, 16, 8, 8)]
    plain = preprocessor(dict(inputs=images))['inputs']
    for i in range(channels):
        torch.testing.assert_close(plain[:, i], (images[:, i] - 10.0 * i) / (50 + i))


def test_images_of_other_channels_than_the_statistics_are_refused():
    with pytest.raises(DataError, match='the images have 3 channels, and 4 are wanted'):
        build_views(4)(dict(inputs=torch.zeros(2, 3, 32, 32)))


@pytest.mark.parametrize(
    'mean, std, words',
    [
        ([1, 2, 3, 4], [1, 2, 3], 'mean has 4 numbers and std 3'),
        ([], [], 'mean has 0 numbers'),
        ([1.0, float('nan')], [1, 1], 'must be numbers'),
        ('auto', 'auto', 'must be numbers'),
    ],
)
def test_statistics_that_cannot_be_meant_are_refused(mean, std, words):
    with pytest.raises(ConfigError, match=words):
        MultiViewPreprocessor(mean=mean, std=std)


def libraries():
    mmdet = pytest.importorskip('mmdet.models.data_preprocessors')
    mmseg = pytest.importorskip('mmseg.models.data_preprocessor')
    return dict(mmdet=mmdet.DetDataPreprocessor.__name__, mmseg=mmseg.SegDataPreProcessor.__name__)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_of_rgb_it_gives_what_the_library_gives(library):
    kind = f'{library}.{libraries()[library]}'
    mean, std = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
    theirs = MODELS.build(dict(type=kind, mean=mean, std=std, bgr_to_rgb=True))
    ours = ManyChannelPreprocessor(dict(type=kind), mean, std, bgr_to_rgb=True)
    images = [(image * 255).to(torch.uint8) for image in noise(3, 2)]
    found, wanted = (
        p(dict(inputs=list(images), data_samples=None), False)['inputs'] for p in (ours, theirs)
    )
    torch.testing.assert_close(found, wanted)


def test_blue_green_red_come_first_and_the_rest_follows():
    kind = f'mmdet.{libraries()["mmdet"]}'
    preprocessor = ManyChannelPreprocessor(
        dict(type=kind, pad_size_divisor=32), [0, 1, 2, 3, 4], [1] * 5, bgr_to_rgb=True
    )
    image = torch.tensor([3, 2, 1, 8, 9], dtype=torch.uint8)[:, None, None].expand(5, 8, 8)
    found = preprocessor(dict(inputs=[image], data_samples=None))['inputs']
    assert found.shape == (1, 5, 32, 32)
    assert found[0, :, 0, 0].tolist() == [1, 1, 1, 5, 5]  # R, G, B = 1, 2, 3
    assert (found[0, :, 8:] == 0).all()


def test_an_image_of_other_channels_is_named():
    kind = f'mmdet.{libraries()["mmdet"]}'
    preprocessor = ManyChannelPreprocessor(dict(type=kind), [0] * 4, [1] * 4)
    sample = SimpleNamespace(img_path='fields/7.tif')
    with pytest.raises(DataError, match='fields/7.tif: the images have 5 channels, and 4 are'):
        preprocessor(dict(inputs=[torch.zeros(5, 8, 8)], data_samples=[sample]))

import numpy as np
import pytest
from PIL import Image

from flsl_mm.datasets.transforms import RandomTeacherCrop


def noise(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def crop(image, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return RandomTeacherCrop(**settings)(dict(img=image, rng=rng))


@pytest.mark.parametrize('height, width', [(300, 400), (97, 61), (1, 1), (3, 500), (30, 20)])
@pytest.mark.parametrize('size', [224, 32])
def test_the_crop_is_pil_s_crop_and_bicubic_resize(height, width, size):
    for seed in range(5):
        results = crop(noise(height, width), seed, size=size)
        expected = noise(height, width).crop(results['teacher_box'])
        expected = np.asarray(expected.resize((size, size), Image.Resampling.BICUBIC)).astype(int)
        assert results['img'].dtype == np.uint8
        gap = np.abs(results['img'] - expected)
        assert gap.max() <= 2 and (gap > 1).mean() < 1e-3  # white noise is the worst case


def test_the_box_covers_the_wanted_share_of_the_image():
    boxes = [crop(noise(300, 400), seed, size=8)['teacher_box'] for seed in range(300)]
    shares = np.array([(x2 - x1) * (y2 - y1) / (300 * 400) for x1, y1, x2, y2 in boxes])
    assert 0.79 < shares.min() and shares.max() <= 1
    assert len(set(boxes)) > 250


def test_the_crop_depends_on_the_sample_s_generator_only():
    np.random.seed(0)
    first = crop(noise(50, 60), seed=3)
    np.random.seed(1)
    second = crop(noise(50, 60), seed=3)
    assert first['teacher_box'] == second['teacher_box']
    assert np.array_equal(first['img'], second['img'])
    assert crop(noise(50, 60), seed=4)['teacher_box'] != first['teacher_box']


def test_wrong_settings_name_the_transform():
    with pytest.raises(ValueError, match='RandomTeacherCrop: scale'):
        RandomTeacherCrop(scale=(0.5, 2.0))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flsl_mm.datasets.transforms import LoadRGBImage, RandomTeacherCrop
from flsl_mm.datasets.transforms.teacher_crop import CROP_UNIFORMS, sample_crop_boxes, snap_box


def noise(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return pixels


def crop(image, seed=0, **settings):
    rng = np.random.default_rng(seed)
    loaded = dict(img=image, ori_shape=image.shape[:2], reduction=1, min_side=None)
    return RandomTeacherCrop(**settings)(dict(**loaded, rng=rng))


@pytest.mark.parametrize('height, width', [(300, 400), (97, 61), (1, 1), (3, 500), (30, 20)])
@pytest.mark.parametrize('size', [224, 32])
def test_the_crop_is_pil_s_crop_and_bicubic_resize(height, width, size):
    for seed in range(5):
        results = crop(noise(height, width), seed, size=size)
        expected = Image.fromarray(noise(height, width)).crop(results['teacher_box'])
        expected = np.asarray(expected.resize((size, size), Image.Resampling.BICUBIC)).astype(int)
        assert results['img'].dtype == np.uint8 and results['img'].flags.c_contiguous
        gap = np.abs(results['img'] - expected)
        assert gap.max() <= 2 and (gap > 1).mean() < 1e-3  # white noise is the worst case


@given(
    shape=st.tuples(st.integers(8, 99), st.integers(8, 99)),
    reduction=st.sampled_from([1, 2, 4, 8]),
    corners=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_a_box_is_widened_to_decoded_pixels(shape, reduction, corners):
    height, width = shape
    x1, x2 = (int(c * (width - 1)) for c in sorted(corners[:2]))
    y1, y2 = (int(c * (height - 1)) for c in sorted(corners[2:]))
    box = np.array([x1, y1, x2 + 1, y2 + 1])
    inner, outer = (np.array(b) for b in snap_box(box.tolist(), reduction, shape))
    if reduction == 1:
        assert (inner == box).all() and (outer == box).all()
    grown = np.array([-1, -1, 1, 1]) * (outer - box)
    assert (grown >= 0).all() and (grown < reduction).all()
    limits = np.array([width, height, width, height])
    assert (outer == np.minimum(inner * reduction, limits)).all()
    assert (inner[2:] <= -(-limits[2:] // reduction)).all() and (inner[2:] > inner[:2]).all()


def test_a_crop_of_a_jpeg_that_was_decoded_smaller_shows_the_same(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((1001, 801), Image.BICUBIC)
    image.save(tmp_path / 'a.jpg', quality=95)
    for seed in range(5):
        crops = []
        for min_side in (None, 83):
            loaded = LoadRGBImage(min_side)(dict(img_path=str(tmp_path / 'a.jpg')))
            assert loaded['reduction'] == (8 if min_side else 1)
            loaded['rng'] = np.random.default_rng(seed)
            crops.append(RandomTeacherCrop(size=64)(loaded))
        boxes = np.array([crop['teacher_box'] for crop in crops])
        assert np.abs(boxes[0] - boxes[1]).max() < 8 and (boxes[1] != boxes[0]).any()
        wider = image.crop(crops[1]['teacher_box']).resize((64, 64), Image.BICUBIC)
        assert np.abs(np.asarray(wider).astype(int) - crops[1]['img']).mean() < 1


def test_an_image_decoded_too_small_for_the_crops_is_refused():
    rng = np.random.default_rng(0)
    loaded = dict(img=noise(300, 300), ori_shape=(300, 300), reduction=1, min_side=289, rng=rng)
    with pytest.raises(ValueError, match='min_side must be at least 290 for RandomTeacherCrop'):
        RandomTeacherCrop()(dict(loaded))
    RandomTeacherCrop()({**loaded, 'min_side': 290})


@given(short=st.integers(290, 400), long=st.integers(290, 1200), seed=st.integers(0, 99))
def test_the_least_side_is_enough_for_every_crop(short, long, seed):
    uniforms = np.random.default_rng(seed).random((50, CROP_UNIFORMS))
    x1, y1, x2, y2 = sample_crop_boxes(short, long, (0.8, 1.0), uniforms).T
    assert (x2 - x1).min() >= 224 and (y2 - y1).min() >= 224
    assert RandomTeacherCrop().min_side == 290


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

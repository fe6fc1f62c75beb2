import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image

from flsl_mm.datasets import SampleKey, UnlabeledImages
from flsl_mm.models.data_preprocessors import MultiViewPreprocessor

SIZE = 32
SMALL = dict(
    student_view=dict(size=SIZE, scale=(0.5, 1.0)),
    local_views=dict(number=2, size=16, scale=(0.05, 0.4)),
)
PLAIN = dict(photometry=None, mean=(0, 0, 0), std=(255, 255, 255))  # pixels in [0, 1]
PIPELINE = [
    dict(type='LoadRGBImage'),
    dict(type='RandomTeacherCrop', size=SIZE),
    dict(type='PackTeacherCrop'),
]


def batch(count=5):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    samples = [DataSample(metainfo=dict(teacher_box=(10, 20, 74, 52))) for _ in range(count)]
    return dict(inputs=pixels, data_samples=samples)


def run(seed=0, **settings):
    torch.manual_seed(seed)
    return MultiViewPreprocessor(**{**SMALL, **settings})(batch(), training=True)


def test_the_views_are_teacher_student_and_locals():
    outputs = run()
    assert set(outputs) == {'inputs', 'data_samples'}
    assert [tuple(view.shape) for view in outputs['inputs']] == [
        (5, 3, SIZE, SIZE),
        (5, 3, SIZE, SIZE),
        (5, 3, 16, 16),
        (5, 3, 16, 16),
    ]
    assert all(view.dtype == torch.float32 for view in outputs['inputs'])
    boxes = outputs['data_samples'][0].view_boxes
    assert boxes.shape == (4, 4) and boxes.dtype == torch.float32


def test_it_is_registered_for_mmpretrain_configs():
    preprocessor = MODELS.build(dict(type='MultiViewPreprocessor', **SMALL))
    assert isinstance(preprocessor, MultiViewPreprocessor)
    assert not preprocessor.state_dict()  # nothing for checkpoints


def test_the_release_recipe_is_the_default():
    default = MultiViewPreprocessor()
    assert default.cuts == [(224, (0.5, 1.0)), (96, (0.05, 0.4)), (96, (0.05, 0.4))]
    assert default.num_teacher_views == 1 and not default.clean_views


def test_locals_can_be_left_out():
    assert [len(view) for view in run(local_views=None)['inputs']] == [5, 5]


def test_two_pairs_share_the_crop_and_differ_in_photometry_and_students():
    outputs = run(num_teacher_views=2, clean_views=True)
    first, second, *students = outputs['clean_inputs']
    assert torch.equal(first, second) and not torch.equal(students[0], students[1])
    assert not torch.equal(outputs['inputs'][0], outputs['inputs'][1])
    sides = [view.shape[-1] for view in outputs['inputs']]
    assert sides == [SIZE, SIZE, SIZE, SIZE, 16, 16]
    boxes = outputs['data_samples'][0].view_boxes
    assert torch.equal(boxes[0], boxes[1]) and not torch.equal(boxes[2], boxes[3])


def test_clean_views_are_the_same_views_without_photometry():
    clean = run(clean_views=True)['clean_inputs']
    plain = run(photometry=None)['inputs']
    for a, b in zip(clean, plain, strict=True):
        assert torch.equal(a, b)
    recolored = run(clean_views=True)['inputs']
    assert not torch.equal(clean[0], recolored[0])
    assert all(torch.equal(a, b) for a, b in zip(recolored, run()['inputs'], strict=True))


def test_views_are_normalized_with_the_channels_mean_and_std():
    normalized = run(photometry=None)['inputs'][0]
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    expected = (batch()['inputs'] - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(normalized, expected, atol=1e-5, rtol=1e-5)


def test_outside_training_images_are_only_normalized():
    preprocessor = MultiViewPreprocessor(**SMALL)
    images = batch()['inputs'][..., :20]
    outputs = preprocessor(dict(inputs=images))
    assert outputs['inputs'].shape == images.shape and outputs['data_samples'] is None
    expected = run(photometry=None)['inputs'][0][..., :20]
    torch.testing.assert_close(outputs['inputs'], expected)


def test_the_seed_decides_every_view():
    first, again, other = run(seed=1)['inputs'], run(seed=1)['inputs'], run(seed=2)['inputs']
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_autocast_changes_nothing():
    with torch.autocast('cpu', dtype=torch.bfloat16):
        low = run()['inputs']
    assert all(torch.equal(a, b) for a, b in zip(low, run()['inputs'], strict=True))


def test_the_batch_of_the_loader_keeps_its_pixels():
    data = batch()
    MultiViewPreprocessor(**SMALL)(data, training=True)
    assert torch.equal(data['inputs'], batch()['inputs'])


def test_boxes_lie_in_the_teacher_s_and_have_the_wanted_area():
    torch.manual_seed(0)
    outputs = MultiViewPreprocessor(**SMALL)(batch(200), training=True)
    boxes = torch.stack([sample.view_boxes for sample in outputs['data_samples']])
    teacher = torch.tensor([10.0, 20.0, 74.0, 52.0])
    assert torch.equal(boxes[:, 0], teacher.expand(200, 4))
    assert (boxes[..., :2] >= teacher[:2]).all() and (boxes[..., 2:] <= teacher[2:]).all()
    share = (boxes[..., 2:] - boxes[..., :2]).prod(-1) / (64 * 32)
    assert 0.47 < share[:, 1].min() and share[:, 1].max() <= 1
    assert 0.03 < share[:, 2:].min() and share[:, 2:].max() < 0.43


@pytest.mark.parametrize('orientation', [1, 6])
def test_the_pixels_of_every_view_are_those_of_its_box(tmp_path, orientation):
    """In an image whose color is the position, every view tells where it was cut."""
    height, width = 300, 400
    ramp_x, ramp_y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    pixels = np.stack(np.broadcast_arrays(ramp_x[None], ramp_y[:, None], 0.5), axis=2) * 255
    pixels = np.rint(pixels).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(pixels, 1) if orientation == 6 else pixels
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / 'ramp.png', exif=exif)
    dataset = UnlabeledImages(str(tmp_path), pipeline=PIPELINE)
    data = default_collate([dataset[SampleKey(0, seed)] for seed in range(8)])
    torch.manual_seed(0)
    outputs = MultiViewPreprocessor(**SMALL, **PLAIN)(data, training=True)
    for i, sample in enumerate(outputs['data_samples']):
        assert sample.ori_shape == (height, width)
        assert sample.view_boxes[0].tolist() == list(sample.teacher_box)
        for view, (x1, y1, x2, y2) in zip(outputs['inputs'], sample.view_boxes.tolist()):
            size = view.shape[-1]
            steps = (torch.arange(size) + 0.5) / size
            gap_x = view[i, 0] - (x1 + steps * (x2 - x1)) / width
            gap_y = view[i, 1] - ((y1 + steps * (y2 - y1)) / height)[:, None]
            assert gap_x.abs().max() < 0.012 and gap_y.abs().max() < 0.012


@pytest.mark.parametrize(
    'settings, words',
    [
        (dict(num_teacher_views=3), 'num_teacher_views'),
        (dict(student_view=dict(size=0, scale=(0.5, 1.0))), 'student_view: size'),
        (dict(local_views=dict(number=0, size=96, scale=(0.05, 0.4))), 'local_views: number'),
        (dict(local_views=dict(number=2, size=96, scale=(0.4, 0.05))), 'local_views: scale'),
        (dict(std=(1, 0, 1)), 'std'),
        (dict(photometry=dict(hue=0.7)), 'hue'),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MultiViewPreprocessor(**settings)


def test_samples_without_the_teacher_s_box_are_refused():
    data = dict(inputs=batch()['inputs'], data_samples=[DataSample() for _ in range(5)])
    with pytest.raises(ValueError, match='PackTeacherCrop'):
        MultiViewPreprocessor(**SMALL)(data, training=True)


def test_photographs_go_the_whole_way(shared_dir):
    pipeline = [dict(type='LoadRGBImage'), dict(type='RandomTeacherCrop'), PIPELINE[2]]
    dataset = UnlabeledImages(str(shared_dir / 'data/imagenet'), pipeline=pipeline)
    assert len(dataset) == 164
    data = default_collate([dataset[i] for i in range(0, len(dataset), 20)])
    torch.manual_seed(0)
    outputs = MultiViewPreprocessor(clean_views=True)(data, training=True)
    assert [view.shape[-1] for view in outputs['inputs']] == [224, 224, 96, 96]
    for view in outputs['inputs'] + outputs['clean_inputs']:
        assert view.isfinite().all() and -3 < view.min() and view.max() < 3 and view.std() > 0.5
    for sample in outputs['data_samples']:
        assert sample.broken == []
        height, width = sample.ori_shape
        limits = torch.tensor([width, height, width, height])
        assert (sample.view_boxes >= 0).all() and (sample.view_boxes <= limits).all()

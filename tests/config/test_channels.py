"""Everything of a run takes the images of its backbone, through the command line's config."""

import numpy as np
import pytest
import torch

from flsl_mm.apis.command_line import read_config_file
from flsl_mm.apis.features import embed_images
from flsl_mm.apis.frozen import build_task
from flsl_mm.checkpoint import CheckpointError, read_checkpoint
from flsl_mm.checkpoint.converting import convert_checkpoint
from flsl_mm.config.channels import follow_channels
from flsl_mm.models import FLSLVisionTransformer, build_vit
from flsl_mm.utils.errors import ConfigError, DataError

IN = 'model.backbone.in_channels'
PIXELS = {'model.data_preprocessor.mean': [1.0, 2, 3, 4], 'model.data_preprocessor.std': [5.0] * 4}


@pytest.fixture(scope='module')
def fields(tmp_path_factory):
    """Twelve images of four channels as arrays of 16 bits, the last one darker."""
    folder, rng = tmp_path_factory.mktemp('fields'), np.random.default_rng(0)
    for i in range(12):
        levels = rng.integers(0, 256, (8, 9, 4)).repeat(8, 0).repeat(8, 1)
        np.save(folder / f'{i}.npy', (levels * [16, 16, 16, 1]).astype(np.uint16))
    return folder


@pytest.fixture
def read(project_root):
    return lambda name, **options: read_config_file(project_root / f'configs/{name}.py', options)


def pretraining(read, **options):
    return read('pretrain/flsl_vit-tiny_demo', **options)


DETECTOR = 'demo/mask-rcnn_vit-tiny_fpn_scenes'
SEGMENTOR = 'ade20k/sem-fpn_random-vits16_40k_ade20k-512x512'


def test_networks_for_rgb_are_left_as_they_are(read):
    for name in ('pretrain/flsl_vit-tiny_demo', DETECTOR, SEGMENTOR):
        cfg, before = read(name), read(name).to_dict()
        assert follow_channels(cfg) == [] and cfg.to_dict() == before


def test_readers_of_a_pretraining_follow_its_backbone(read):
    cfg = pretraining(read, **{IN: 4}, **PIXELS)
    assert follow_channels(cfg) == []  # statistics are given
    assert cfg.train_dataloader.dataset.pipeline[0].channels == 4
    assert cfg.model.data_preprocessor.mean == [1.0, 2.0, 3.0, 4.0]
    before = cfg.to_dict()
    assert follow_channels(cfg) == [] and cfg.to_dict() == before


def test_statistics_are_measured_where_none_are_given(read, fields):
    options = {'train_dataloader.dataset.data_root': str(fields)}
    [line] = follow_channels(cfg := pretraining(read, **{IN: 4}, **options))
    assert 'images of 4 channels' in line and 'measured on 12 images' in line
    levels = np.stack([np.load(path) for path in sorted(fields.iterdir())])
    expected = (levels / [16, 16, 16, 1]).reshape(-1, 4)
    pixels = cfg.model.data_preprocessor
    assert np.allclose(pixels.mean, expected.mean(0), atol=3)
    assert np.allclose(pixels.std, expected.std(0), atol=3)


def test_a_channel_of_one_value_is_told(read, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    levels[..., 3] = 7
    np.save(tmp_path / 'a.npy', levels)
    options = {'train_dataloader.dataset.data_root': str(tmp_path)}
    [line] = follow_channels(cfg := pretraining(read, **{IN: 4}, **options))
    assert 'channel 3 has one value everywhere' in line
    assert cfg.model.data_preprocessor.std[3] == 1


@pytest.mark.parametrize('channels, color_type', [(1, 'grayscale'), (4, 'unchanged')])
@pytest.mark.parametrize('name', [DETECTOR, SEGMENTOR])
def test_readers_of_a_detector_and_a_segmentor_follow_their_backbone(
    read, name, channels, color_type
):
    cfg = read(name, **{IN: channels, **{key: v[:channels] for key, v in PIXELS.items()}})
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        steps = loader.dataset.pipeline
        steps[:] = [t for t in steps if t.type != 'PhotoMetricDistortion' or channels == 4]
    follow_channels(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[0].color_type == color_type
    pixels = cfg.model.data_preprocessor
    assert len(pixels.mean) == channels
    if channels == 1:
        assert pixels.bgr_to_rgb is False
    else:
        assert pixels.type == 'ManyChannelPreprocessor' and pixels.bgr_to_rgb is True
        assert not {'mean', 'std', 'bgr_to_rgb'} & set(pixels.inner)


REFUSED = {  # config, options -> the one line
    'too few statistics': (
        DETECTOR,
        {IN: 5, **PIXELS},
        'mean has 4 numbers and std 4, one is needed for each of the 5 channels',
    ),
    'no statistics': (DETECTOR, {IN: 4, 'pretrained': None}, 'needs the statistics of their pix'),
    'half of them': (
        DETECTOR,
        {IN: 4, 'model.data_preprocessor.mean': [1, 2, 3, 4]},
        'mean has 4 numbers and std 3',
    ),
    'no number': (DETECTOR, {IN: 'four'}, "must be a whole number, at least 1, got 'four'"),
    'no channels': (DETECTOR, {IN: 0}, 'must be a whole number, at least 1, got 0'),
    'another method': (
        'pretrain/mae_vits16_300e',
        {IN: 4},
        'other images than RGB are taken by FLSL and DINO in pretraining and by',
    ),
    'a reader of others': (
        'pretrain/flsl_vit-tiny_demo',
        {IN: 4, **PIXELS, 'train_dataloader.dataset.pipeline.0.channels': 5},
        'channels=5, but model.backbone.in_channels is 4',
    ),
    'a gray reader': (
        DETECTOR,
        {IN: 4, **PIXELS, 'test_dataloader.dataset.pipeline.0.color_type': 'grayscale'},
        "color_type='grayscale', but model.backbone.in_channels is 4",
    ),
    'colors of gray': (
        SEGMENTOR,
        {IN: 1, 'model.data_preprocessor.mean': [1], 'model.data_preprocessor.std': [1]},
        'PhotoMetricDistortion changes colors, and model.backbone.in_channels is 1',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_does_not_fit_is_one_line(read, case):
    name, options, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        follow_channels(read(name, **options))


def test_a_folder_of_other_images_is_refused_before_anything_is_built(read, image_folder):
    options = {'train_dataloader.dataset.data_root': str(image_folder)}
    with pytest.raises(DataError, match='none of 12 images .* it has 3 channels, and 4 are'):
        follow_channels(pretraining(read, **{IN: 4}, **options))


def train(make_runner, tiny_config, fields, **options):
    dataset = {'train_dataloader.dataset.data_root': str(fields)}
    runner = make_runner(tiny_config, **dataset, **{'train_cfg.max_epochs': 1}, **options)
    runner.train()
    return runner, f'{tiny_config.work_dir}/epoch_1.pth'


def test_a_run_that_goes_on_keeps_the_statistics_that_it_began_with(read, fields, tmp_path):
    recorded = dict(mean=[1.0, 2.0, 3.0, 4.0], std=[5.0, 6.0, 7.0, 8.0])
    arch = dict(embed_dims=32, num_layers=1, num_heads=2, feedforward_channels=64)
    weights = FLSLVisionTransformer(arch, img_size=32, in_channels=4).state_dict()
    torch.save(dict(meta=recorded, state_dict=weights), tmp_path / 'epoch_1.pth')
    options = {'train_dataloader.dataset.data_root': str(fields)}
    cfg = pretraining(read, **{IN: 4}, **options)
    [line] = follow_channels(cfg, lambda: str(tmp_path / 'epoch_1.pth'))
    assert cfg.model.data_preprocessor.mean == recorded['mean'] and 'epoch_1.pth' in line


def test_a_network_of_four_channels_is_trained_and_used_without_flags(
    make_runner, tiny_config, fields, tmp_path
):
    runner, checkpoint = train(make_runner, tiny_config, fields, **{IN: 4})
    mean = runner.model.data_preprocessor.mean
    meta = read_checkpoint(checkpoint)['meta']
    assert meta['mean'] == list(mean) and len(meta['std']) == 4
    vit = build_vit(checkpoint)
    assert vit.in_channels == 4 and vit.mean == mean == runner.model.teacher.backbone.mean

    found = embed_images(vit, fields, tmp_path / 'out', short_side=64, num_workers=0)
    assert found['images'] == 12 and not found['unreadable']
    numbers = build_task(dict(type='CollapseMonitors', data_root=str(fields), short_side=64))(vit)
    assert numbers['RankMe'] > 1

    safe = tmp_path / 'teacher.safetensors'
    convert_checkpoint(checkpoint, safe, 'mmpretrain', 'teacher')
    again = build_vit(str(safe))
    image = torch.rand(1, 4, 64, 64) * 255
    tokens = [v.forward_tokens([v.normalize(image)])[0] for v in (vit, again)]
    assert torch.equal(*tokens)
    weights = read_checkpoint(checkpoint)['state_dict']
    with pytest.raises(CheckpointError, match='4 channels and does not record their mean'):
        build_vit(weights, num_heads=2)


def test_images_of_other_channels_are_left_out_of_features_and_named(
    make_runner, tiny_config, fields, image_folder, tmp_path
):
    _, checkpoint = train(make_runner, tiny_config, fields, **{IN: 4}, **PIXELS)
    vit = build_vit(checkpoint)
    message = 'it has 3 channels, and 4 are wanted'
    with pytest.raises(DataError, match=f'none of 12 images can be read.*{message}'):
        embed_images(vit, image_folder, tmp_path / 'out', short_side=64, num_workers=0)
    with pytest.raises(DataError, match=message):
        build_task(dict(type='CollapseMonitors', data_root=str(image_folder)))(vit)


def test_own_statistics_of_rgb_are_remembered_too(make_runner, tiny_config, image_folder):
    pixels = {'model.data_preprocessor.mean': [9.0, 8, 7], 'model.data_preprocessor.std': [6.0] * 3}
    _, checkpoint = train(make_runner, tiny_config, image_folder, **pixels)
    vit = build_vit(checkpoint)
    assert vit.mean == (9.0, 8.0, 7.0) and vit.std == (6.0,) * 3
    assert vit.identity != build_vit('random:deit-tiny/8').identity


def test_one_channel_is_trained_on_gray_images(make_runner, tiny_config, tmp_path):
    levels = np.random.default_rng(0).normal(3000, 200, (12, 72, 64)).astype(np.float32)
    (tmp_path / 'gray').mkdir()
    for i, image in enumerate(levels):
        np.save(tmp_path / f'gray/{i}.npy', image)
    runner, checkpoint = train(make_runner, tiny_config, tmp_path / 'gray', **{IN: 1})
    assert build_vit(checkpoint).in_channels == 1
    assert 100 < runner.model.data_preprocessor.mean[0] < 155

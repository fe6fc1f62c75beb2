"""Detectors and segmentors on images of four channels, from training to pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

pytest.importorskip('mmdet')
mmseg = pytest.importorskip('mmseg')
from mmdet.registry import DATASETS as DETECTION  # noqa: E402

from flsl_mm.apis.command_line import read_config_file  # noqa: E402
from flsl_mm.config.channels import follow_channels  # noqa: E402
from flsl_mm.datasets import scenes  # noqa: E402

PIXELS = {
    'model.backbone.in_channels': 4,
    'model.data_preprocessor.mean': [120, 118, 110, 60],
    'model.data_preprocessor.std': [60, 60, 60, 50],
}


def add_channel(path: Path) -> str:
    """Put an array with a fourth channel, how far from gray a pixel is, in place of an image."""
    pixels = np.asarray(Image.open(path).convert('RGB')).astype(np.uint16)
    np.save(path.with_suffix('.npy'), np.dstack([pixels, np.ptp(pixels, axis=2)]) * 16)
    path.unlink()
    return path.with_suffix('.npy').name


@pytest.fixture(scope='module')
def fields(tmp_path_factory) -> Path:
    """Drawn scenes in COCO's layout, as arrays of four channels."""
    folder = tmp_path_factory.mktemp('fields')
    scenes.write_coco(folder, num_train=4, num_val=2, size=(128, 96))
    for split in ('train2017', 'val2017'):
        file = folder / f'annotations/instances_{split}.json'
        content = json.loads(file.read_text())
        for image in content['images']:
            image['file_name'] = add_channel(folder / split / image['file_name'])
        file.write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='module')
def predict(load_tool):
    """Runs the tool in this process; gives its exit code."""
    module = load_tool('predict')
    return lambda *arguments: module.main([str(argument) for argument in arguments])


def test_a_detector_is_trained_tested_and_used(
    project_root, fields, make_runner, predict, tmp_path, capsys
):
    options = dict(data_root=str(fields), pretrained=None, **PIXELS)
    cfg = read_config_file(project_root / 'configs/demo/mask-rcnn_vit-tiny_fpn_scenes.py', options)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_cfg.update(max_epochs=1, val_interval=2)  # it is tested below
    cfg.default_hooks.checkpoint.interval = 1
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=3)
    pictures = dict(type='mmpretrain.PicturesHook', folder=str(tmp_path / 'worst'), worst=1)
    runner = make_runner(cfg, custom_hooks=[pictures])
    runner.train()
    assert runner.model.data_preprocessor.order == [2, 1, 0, 3]
    loss = runner.message_hub.log_scalars['train/loss'].current()
    assert np.isfinite(loss)
    runner.test()
    assert [p for p in (tmp_path / 'worst').iterdir() if p.suffix == '.png']

    files = next(Path(cfg.work_dir).glob('*.py')), Path(cfg.work_dir) / 'epoch_1.pth'
    Image.new('RGB', (40, 30)).save(tmp_path / 'rgb.png')
    images = fields / 'val2017', tmp_path / 'rgb.png'
    for out, tiles in ((tmp_path / 'whole', ()), (tmp_path / 'tiles', ('--tiles', '64'))):
        assert predict(*files, *images, out, '--score', '0', *tiles) == 0
        assert 'the images have 3 channels, and 4 are wanted' in capsys.readouterr().err
        found = json.loads((out / 'predictions.json').read_text())
        assert {o['file_name'].rpartition('.')[2] for o in found} == {'npy'}
        assert len(list((out / 'pictures').rglob('*.*'))) == 2


def test_the_pipeline_gives_what_is_in_the_file(project_root, fields):
    options = dict(data_root=str(fields), pretrained=None, **PIXELS)
    cfg = read_config_file(project_root / 'configs/demo/mask-rcnn_vit-tiny_fpn_scenes.py', options)
    follow_channels(cfg)
    init_default_scope('mmdet')
    sample = DETECTION.build(cfg.val_dataloader.dataset)[0]
    batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    found = MODELS.build(cfg.model.data_preprocessor)(batch)['inputs'][0]
    levels = np.load(sample['data_samples'].img_path).astype(float)
    for channels in (slice(0, 3), slice(3, 4)):
        low, high = np.percentile(levels[..., channels], (0.1, 99.9))
        scaled = ((levels[..., channels] - low) / (high - low)).clip(0, 1) * 255
        mean = np.array(PIXELS['model.data_preprocessor.mean'][channels])
        std = np.array(PIXELS['model.data_preprocessor.std'][channels])
        wanted = torch.tensor((scaled - mean) / std).permute(2, 0, 1)
        assert (found[channels] - wanted).abs().max() < 0.5 / 50 + 1e-3


@pytest.fixture
def masks(tmp_path) -> Path:
    """Drawn scenes in ADE20K's layout, as arrays of four channels."""
    scenes.write_ade20k(tmp_path / 'ade', num_train=2, num_val=2, size=(64, 64))
    for path in list((tmp_path / 'ade').glob('images/*/*.jpg')):
        add_channel(path)
    return tmp_path / 'ade'


def test_a_segmentor_is_trained_with_colors_of_the_first_three(project_root, masks, make_runner):
    classes = [f'class {i}' for i in range(150)]
    options = dict(data_root=str(masks), classes=classes, reduce_zero_label=True, **PIXELS)
    name = 'configs/ade20k/sem-fpn_random-vits16_40k_ade20k-512x512.py'
    cfg = read_config_file(project_root / name, options)
    cfg.model.backbone.update(
        img_size=64, embed_dims=48, depth=2, num_heads=3, out_indices=(0, 0, 1, 1)
    )
    cfg.model.neck.update(in_channels=[48] * 4, out_channels=32)
    cfg.model.decode_head.update(in_channels=[32] * 4, channels=32)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        for step in loader.dataset.pipeline:
            if 'scale' in step:
                step.scale = (256, 64)
            if 'crop_size' in step:
                step.crop_size = (64, 64)
    cfg.model.data_preprocessor.size = (64, 64)
    cfg.work_dir = str(masks.parent / 'run')
    runner = make_runner(cfg)
    runner.train()
    assert np.isfinite(runner.message_hub.log_scalars['train/loss'].current())


def test_distortion_of_colors_leaves_other_channels_alone():
    from mmseg.datasets.transforms import PhotoMetricDistortion

    from flsl_mm.segmentation.dataset import DistortColors

    image = np.random.default_rng(0).integers(0, 256, (8, 9, 5), dtype=np.uint8)
    found, wanted = [], []
    for kind, channels, results in ((DistortColors, 5, found), (PhotoMetricDistortion, 3, wanted)):
        for seed in range(5):
            np.random.seed(seed)
            results.append(kind()(dict(img=image[..., :channels].copy()))['img'])
    assert all((f[..., 3:] == image[..., 3:]).all() for f in found)
    assert all((f[..., :3] == w).all() for f, w in zip(found, wanted))
    assert any((w != image[..., :3]).any() for w in wanted)


def test_detectors_of_gray_need_no_other_setting(project_root):
    options = {key: value[:1] if isinstance(value, list) else 1 for key, value in PIXELS.items()}
    cfg: Config = read_config_file(
        project_root / 'configs/demo/mask-rcnn_vit-tiny_fpn_scenes.py', options
    )
    follow_channels(cfg)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    image = torch.randint(0, 256, (1, 64, 64), dtype=torch.uint8)
    assert model.data_preprocessor(dict(inputs=[image]))['inputs'].shape[1] == 1

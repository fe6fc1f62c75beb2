"""ADE20K on the command line: train, test, pictures; on three images of the data set."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

pytest.importorskip('mmseg')
FOLDERS = dict(img_path='images', seg_map_path='annotations')
SEM_FPN = 'sem-fpn_flsl-vits16_40k_ade20k-512x512'
LINEAR = 'linear_flsl-vits16_10k_ade20k-512x512'
KNN = 'knn_flsl-vits16_1e_ade20k-512x512'
TRUNKS = [
    'linear_dinov2-vits14-reg_10k_ade20k-512x512',
    'knn_dinov3-vits16_1e_ade20k-512x512',
]


def shrink(cfg: Config, data_root: Path, side: int) -> Config:
    """Make a config fit a CPU and a folder of few images, without replacing any part of it."""
    cfg.pretrained = None
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(data_root), data_prefix=FOLDERS)
        for step in loader.dataset.pipeline:
            if step.type in ('Resize', 'RandomResize'):
                step.scale = (4 * side, side)
            if step.type == 'RandomCrop':
                step.crop_size = (side, side)
    cfg.model.data_preprocessor.size = (side, side)
    if cfg.model.backbone.type == 'ViTFPN':
        cfg.model.backbone.update(embed_dims=48, depth=4, num_heads=3, out_indices=(0, 1, 2, 3))
        cfg.model.neck.update(in_channels=[48] * 4, out_channels=32)
        cfg.model.decode_head.update(in_channels=[32] * 4, channels=32)
    elif cfg.model.backbone.type == 'ViTMap':
        cfg.model.backbone.update(embed_dims=48, depth=2, num_heads=3, img_size=56)
    else:
        arch = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=96)
        cfg.model.backbone.update(arch=arch, frozen_stages=2)
    if cfg.model.backbone.type != 'ViTFPN':
        cfg.model.decode_head.in_channels = 48
        if 'channels' in cfg.model.decode_head:
            cfg.model.decode_head.channels = 48
    cfg.default_hooks.logger.interval = 1
    return cfg


def shorten(cfg: Config) -> None:
    """Two iterations, with steps that change the predictions."""
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    cfg.optim_wrapper.optimizer.lr = 0.05
    cfg.param_scheduler[0].start_factor = 1.0


@pytest.fixture(scope='module')
def config(project_root, shared_dir, tmp_path_factory) -> Path:
    cfg = Config.fromfile(project_root / f'configs/ade20k/{SEM_FPN}.py')
    cfg = shrink(cfg, shared_dir / 'data/ade', side=64)
    shorten(cfg)
    folder = tmp_path_factory.mktemp('sem-fpn')
    cfg.work_dir = str(folder / 'run')
    cfg.dump(folder / 'shrunk.py')
    return folder / 'shrunk.py'


@pytest.fixture(scope='module')
def checkpoint(config, run_tool) -> Path:
    """What two iterations of training wrote."""
    result = run_tool('train.py', config)
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'training from scratch' in result.stdout + result.stderr
    return config.with_name('run') / 'iter_2.pth'


@pytest.fixture(scope='module')
def evaluated(config, checkpoint, run_tool, tmp_path_factory):
    """The evaluation of that checkpoint: process and folder of its files."""
    folder = tmp_path_factory.mktemp('evaluated')
    result = run_tool(
        'test.py',
        config,
        checkpoint,
        f'--work-dir={folder}',
        f'--show-dir={folder / "pictures"}',
        '--cfg-options',
        f'test_evaluator.output_dir={folder / "masks"}',
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result, folder


def read_metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / 'test_metrics.json').read_text())['metrics']


def confusion(predictions: Path, masks: Path) -> np.ndarray:
    """Pixels (label, prediction) of masks with classes 1..150, without unlabelled pixels."""
    matrix = np.zeros((151, 151), int)
    for path in masks.glob('*.png'):
        label, predicted = (np.array(Image.open(f / path.name)) for f in (masks, predictions))
        np.add.at(matrix, (label[label > 0], predicted[label > 0]), 1)
    return matrix[1:, 1:]


def test_the_numbers_are_those_of_the_saved_masks(evaluated, shared_dir):
    _, folder = evaluated
    matrix = confusion(folder / 'masks', shared_dir / 'data/ade/annotations')
    assert matrix.sum() > 300_000
    inside, labels, predictions = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    union = labels + predictions - inside
    iou = 100 * inside[union > 0] / union[union > 0]
    metrics = read_metrics(folder)
    assert metrics['mIoU'] == pytest.approx(iou.mean(), abs=0.01)
    assert metrics['aAcc'] == pytest.approx(100 * inside.sum() / matrix.sum(), abs=0.01)
    assert metrics['mAcc'] == pytest.approx(
        100 * (inside[labels > 0] / labels[labels > 0]).mean(), abs=0.01
    )
    classes = [value for name, value in metrics.items() if name.startswith('IoU.')]
    assert classes == pytest.approx(list(iou), abs=0.01)


def test_the_numbers_are_printed_with_every_class(evaluated):
    result, folder = evaluated
    rows = {line.rsplit(maxsplit=1)[0]: line.split()[-1] for line in result.stdout.splitlines()
            if len(line.split()) >= 2}  # fmt: skip
    metrics = read_metrics(folder)
    assert {'aAcc', 'mIoU', 'mAcc', 'IoU.wall'} <= set(metrics)
    assert all(float(rows[name]) == pytest.approx(metrics[name], abs=1e-3) for name in metrics)


def test_every_image_has_a_colored_picture(evaluated, shared_dir):
    pictures = sorted((evaluated[1] / 'pictures').rglob('*.jpg'))
    images = sorted((shared_dir / 'data/ade/images').iterdir())
    assert len(pictures) == len(images) == 3
    for picture, image in zip(pictures, images):
        assert image.stem in picture.name
        drawn, original = (np.float32(Image.open(p).convert('RGB')) for p in (picture, image))
        width = original.shape[1]
        assert drawn.shape[1] == 2 * width  # the masks of annotation and prediction
        for half in (drawn[:, :width], drawn[:, width:]):
            assert np.abs(half - original).mean() > 10


def test_two_processes_find_the_same(evaluated, config, checkpoint, run_tool, tmp_path):
    result = run_tool(
        'dist_test.sh',
        config,
        checkpoint,
        '2',  # for three images: one of them is evaluated twice, and has to count once
        f'--work-dir={tmp_path}',
        PORT='29561',
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert read_metrics(tmp_path) == read_metrics(evaluated[1])


@pytest.mark.parametrize('name', [LINEAR, KNN, *TRUNKS])
def test_frozen_tokens_are_judged(name, project_root, shared_dir, make_runner, tmp_path):
    cfg = Config.fromfile(project_root / f'configs/ade20k/{name}.py')
    cfg = shrink(cfg, shared_dir / 'data/ade', side=64)
    if name.startswith('linear'):
        shorten(cfg)
    cfg.work_dir = str(tmp_path / 'run')
    runner = make_runner(cfg)
    runner.model.init_weights()
    before = {k: v.clone() for k, v in runner.model.backbone.state_dict().items()}
    runner.train()
    assert all(v.equal(before[k]) for k, v in runner.model.backbone.state_dict().items())
    scalars = runner.message_hub.log_scalars
    assert scalars['val/aAcc'].current() > (20 if name.startswith('linear') else 50)


def memorize(cfg: Config, iterations: int) -> Config:
    """Train and evaluate on the same images, without augmentation."""
    train, test = cfg.train_dataloader, cfg.val_dataloader
    train.batch_size = 3
    kept = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    steps = {step.type: step for step in test.dataset.pipeline}
    load, labels, pack = (steps[name] for name in kept)
    train.dataset.pipeline = [load, labels, steps['Resize'], pack]
    train.dataset.pipeline[2].scale = cfg.model.data_preprocessor.size
    cfg.model.backbone.update(embed_dims=96, drop_path_rate=0.0)
    cfg.model.neck.update(in_channels=[96] * 4, out_channels=64)
    cfg.model.decode_head.update(in_channels=[64] * 4, channels=64, dropout_ratio=0.0)
    cfg.train_cfg.update(max_iters=iterations, val_interval=iterations)
    cfg.default_hooks.logger.interval = 20
    cfg.default_hooks.checkpoint.interval = iterations
    cfg.auto_scale_lr.enable = False
    cfg.optim_wrapper.optimizer.update(lr=1e-3, weight_decay=0.0)
    warmup, poly = cfg.param_scheduler
    warmup.end = poly.begin = 20
    poly.end = iterations
    return cfg


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_images_are_learnt_by_heart(project_root, shared_dir, make_runner, tmp_path):
    cfg = Config.fromfile(project_root / f'configs/ade20k/{SEM_FPN}.py')
    cfg = memorize(shrink(cfg, shared_dir / 'data/ade', side=256), iterations=300)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.val_evaluator.output_dir = str(tmp_path / 'masks')
    runner = make_runner(cfg)
    runner.train()
    matrix = confusion(tmp_path / 'masks', shared_dir / 'data/ade/annotations')
    inside, labels, predictions = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    present = labels > 0
    iou = 100 * inside[present] / (labels + predictions - inside)[present]
    print(f'mIoU over the {present.sum()} classes present: {iou.mean():.1f}')
    assert iou.mean() > 60
    assert runner.message_hub.log_scalars['val/mIoU'].current() > 60

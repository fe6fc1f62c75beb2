"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, however slow the machine is.
settings.register_profile('project', deadline=None, derandomize=True)
settings.load_profile('project')

# Before torch is imported: see tools/train.py.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('GOMP_SPINCOUNT', '2000')
# The tests run in several processes, one for each core.
os.environ.setdefault('OMP_NUM_THREADS', '1')

PROJECT_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='session', autouse=True)
def autograd_without_device_threads():
    """Autograd starts while torch knows no device but the CPU.

    Fake tensors, of exports and of GPUs that are not there, add one; a first backward pass after
    them would start a thread for it, and no process that is forked from here could train.
    """
    import torch

    torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(scope='session')
def project_root() -> Path:
    """The folder that holds ``setup.cfg``, ``configs`` and ``tools``."""
    return PROJECT_ROOT


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Golden values and sample images beside the project; skips where they are absent."""
    path = PROJECT_ROOT.parent / 'shared'
    if not path.is_dir():
        pytest.skip('the golden values and sample images are not beside this checkout')
    return path


@pytest.fixture(scope='session')
def golden_dir(shared_dir: Path) -> Path:
    """Numbers computed by independent implementations."""
    return shared_dir / 'golden'


# The layout of the golden network.
_SMALL_VIT = dict(
    type='FLSLVisionTransformer',
    arch=dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192),
    img_size=128,
    patch_size=16,
)
_SMALL_HEAD = dict(in_channels=48, num_prototypes=64, hidden_channels=64, bottleneck_channels=32)


@pytest.fixture(scope='session')
def build_flsl():
    """Builds a small FLSL model with the layout of the golden one; overrides by part."""
    from flsl_mm.models import FLSL

    def build(backbone=(), neck=(), head=(), **kwargs) -> FLSL:
        scales = dict(self_scale=0.1 / 384**0.5, cross_scale=0.2 / 384**0.5)
        return FLSL(
            backbone={**_SMALL_VIT, **dict(backbone)},
            neck={**dict(type='MeanShiftNeck'), **scales, **dict(neck)},
            head={**dict(type='FLSLHead'), **_SMALL_HEAD, **dict(head)},
            **kwargs,
        )

    return build


@pytest.fixture(scope='session')
def build_dino():
    """Builds a small DINO model on the same network; overrides by part."""
    from flsl_mm.models import DINO

    def build(backbone=(), head=(), **kwargs) -> DINO:
        return DINO(
            backbone={**_SMALL_VIT, **dict(backbone)},
            head={**dict(type='DINOHead'), **_SMALL_HEAD, **dict(head)},
            **kwargs,
        )

    return build


@pytest.fixture(scope='session')
def image_folder(tmp_path_factory) -> Path:
    """Twelve small random images in two class folders."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for i in range(12):
        folder = root / f'class{i % 2}'
        folder.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((72, 60), Image.BICUBIC).save(folder / f'{i}.png')
    return root


@pytest.fixture(scope='session')
def write_boxes():
    """Writes an XML file as ILSVRC's localization task has them."""

    def write(path: Path, size=(80, 60), boxes=((10, 20, 40, 50),), name='n01') -> Path:
        objects = ''.join(
            f'<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>'
            f'<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
            for x1, y1, x2, y2 in boxes
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'<annotation><folder>val</folder><size><width>{size[0]}</width>'
            f'<height>{size[1]}</height><depth>3</depth></size>{objects}</annotation>'
        )
        return path

    return write


@pytest.fixture
def imagenet_boxes(tmp_path, write_boxes) -> Path:
    """ImageNet's layout: three classes of colored boxes on noise, 4 + 2 images each."""
    import numpy as np
    from PIL import Image

    root = tmp_path / 'imagenet'
    rng = np.random.default_rng(0)
    colors = dict(n01=(220, 40, 40), n02=(40, 220, 40), n03=(40, 40, 220))
    for i in range(18):
        name = list(colors)[i % 3]
        split, stem = (f'train/{name}', f'{name}_{i}') if i < 12 else ('val', f'val_{i:08}')
        pixels = rng.integers(60, 180, (60, 80, 3), dtype=np.uint8)
        left = int(rng.integers(15, 30))
        pixels[20:50, left : left + 30] = colors[name]
        folder = root / 'Data/CLS-LOC' / split
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f'{stem}.JPEG')
        xml = root / 'Annotations/CLS-LOC' / split / f'{stem}.xml'
        write_boxes(xml, (80, 60), [(left, 20, left + 30, 50)], name)
    return root


@pytest.fixture
def tiny_config(image_folder, tmp_path):
    """A pretraining config that runs two iterations of a tiny ViT per epoch on the CPU."""
    from mmengine.config import Config

    cfg = Config.fromfile(PROJECT_ROOT / 'configs/pretrain/flsl_vits16_300e.py')
    cfg.model.backbone.arch = dict(
        embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64
    )
    cfg.merge_from_dict(
        {
            'model.backbone.img_size': 64,
            'model.backbone.patch_size': 8,
            'model.head': dict(
                in_channels=32, num_prototypes=16, hidden_channels=256, bottleneck_channels=64
            ),
            'model.neck': dict(self_scale=0.06, cross_scale=0.12, random_queries=True),
            'model.data_preprocessor.student_view.size': 64,
            'model.data_preprocessor.local_views': dict(size=32, scale=(0.1, 0.4)),
            'model.momentum': 0.98,
            'train_dataloader.batch_size': 6,
            'train_dataloader.num_workers': 0,
            'train_dataloader.pin_memory': False,
            'train_dataloader.dataset.data_root': str(image_folder),
            'train_dataloader.dataset.pipeline.0.min_side': None,
            'train_dataloader.dataset.pipeline.1.size': 64,
            'train_cfg.max_epochs': 2,
            'optim_wrapper.optimizer.lr': 1e-3,
            'auto_scale_lr.enable': False,
            'param_scheduler.warmup': 2,
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint': dict(interval=5, max_keep_ckpts=2),
            'default_hooks.schedule.momentum.start': 0.98,
            'default_hooks.schedule.teacher_temp.epochs': 10,
            'visualizer.vis_backends': [dict(type='LocalVisBackend')],
        }
    )
    cfg.work_dir = str(tmp_path / 'run')
    return cfg


@pytest.fixture
def make_runner():
    """Builds a Runner from a config, with a name of its own for mmengine's global state."""
    import copy
    import itertools

    from mmengine.registry import RUNNERS

    import flsl_mm  # noqa: F401

    names = itertools.count()

    def build(cfg, **overrides):
        cfg = copy.deepcopy(cfg)
        cfg.merge_from_dict(overrides)
        cfg.experiment_name = f'{cfg.work_dir}-{next(names)}'
        return RUNNERS.build(cfg)

    return build


@pytest.fixture(scope='session')
def shrink_coco(shared_dir, tmp_path_factory):
    """Shrinks a detection config, without replacing any part of it, to run on sample images."""
    from mmengine.config import Config

    def shrink(name: str, factor: int = 8) -> Config:
        cfg = Config.fromfile(PROJECT_ROOT / f'configs/coco/{name}.py')
        for split in ('train', 'val', 'test'):
            loader = cfg[f'{split}_dataloader']
            loader.update(num_workers=0, persistent_workers=False)
            folder = 'train2017' if split == 'train' else 'val2017'
            loader.dataset.update(
                data_root=str(shared_dir / 'data/coco'), data_prefix=dict(img=f'images/{folder}')
            )
            _shrink_images(loader.dataset.pipeline, factor)
            if split != 'train':
                cfg[f'{split}_evaluator'].ann_file = str(
                    shared_dir / f'data/coco/annotations/instances_{folder}.json'
                )
        backbone = cfg.model.backbone
        backbone.update(embed_dims=48, depth=4, num_heads=3, img_size=backbone.img_size // factor)
        if backbone.type == 'ViTFPN':
            backbone.out_indices = (0, 1, 2, 3)
            cfg.model.neck.in_channels = [48] * 4
        else:
            backbone.update(window_size=4, global_indices=(1, 3), pretrain_img_size=64)
            cfg.model.data_preprocessor.pad_size_divisor //= factor
        cfg.model.roi_head.bbox_head.fc_out_channels = 64
        cfg.model.train_cfg.rcnn.sampler.num = 32
        # An untrained network detects something too; few masks, for the time they take.
        cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=10)
        for limits in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
            limits.update(nms_pre=100, max_per_img=50)
        cfg.train_dataloader.update(batch_size=2)
        cfg.train_dataloader.dataset.indices = 4  # two iterations
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
        cfg.default_hooks.logger.interval = 1
        cfg.work_dir = str(tmp_path_factory.mktemp(name) / 'run')
        return cfg

    return shrink


def _shrink_images(value, factor: int) -> None:
    """Divide the sizes in a pipeline by ``factor``, in place."""
    if isinstance(value, list):
        for item in value:
            _shrink_images(item, factor)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ('scale', 'crop_size'):
                value[key] = tuple(side // factor for side in item)
            elif key == 'scales':
                value[key] = [tuple(side // factor for side in scale) for scale in item]
            else:
                _shrink_images(item, factor)


@pytest.fixture
def fake_cuda(monkeypatch):
    """A GPU without values, see :class:`FakeCuda`; skips where torch knows of none."""
    import torch
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version('2.5'):
        pytest.skip('older releases of torch miss some functions there')
    if not torch.backends.cuda.is_built():
        pytest.skip('this build of torch has no operations of GPUs')
    from fake_cuda import FakeCuda, fused_attention, new_tensor

    # What torch would ask the driver for.
    monkeypatch.setattr(torch.cuda, '_lazy_init', lambda: None)
    monkeypatch.setattr(torch.cuda.amp.common, 'amp_definitely_not_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda *_, **__: True)
    plain = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', fused_attention(plain))
    monkeypatch.setattr(torch.Tensor, 'new_tensor', new_tensor(torch.Tensor.new_tensor))
    with FakeCuda() as gpu:
        yield gpu


@pytest.fixture(autouse=True)
def forget_runner():
    """A runner leaves its default scope and its logger behind for all that comes after it.

    Registry look-ups would start in that scope, and the logger writes to the output of its test.
    """
    yield
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()
    MMLogger._instance_dict.clear()

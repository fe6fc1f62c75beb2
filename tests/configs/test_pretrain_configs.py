"""Pretraining configs without a test of their own, shrunk, train and are read back."""

import copy
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from mmengine.config import Config

import flsl_mm  # noqa: F401
from flsl_mm.checkpoint import load_pretrained
from flsl_mm.models import FLSLVisionTransformer, FrozenViT, build_vit

FOLDER = Path(__file__).parents[2] / 'configs/pretrain'
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
HEAD = {
    f'model.head.{name}': value
    for name, value in dict(
        in_channels=32, num_prototypes=16, hidden_channels=32, bottleneck_channels=8
    ).items()
}
DINO = {'model.data_preprocessor.local_views.size': 32, **HEAD}
MAE = {
    'model.neck.num_patches': 16,
    'model.neck.embed_dim': 32,
    'model.neck.decoder_embed_dim': 32,
    'model.neck.decoder_depth': 1,
    'model.neck.decoder_num_heads': 2,
}
MOCOV3 = {
    'model.neck.in_channels': 32,
    'model.neck.hid_channels': 32,
    'model.head.predictor.hid_channels': 32,
}
CONFIGS = {
    'flsl_vit-small-photos': DINO,
    'dino_vits16_300e': DINO,
    'dino-token-mean_vits16_300e': DINO,
    'dino_vit-tiny_demo': DINO,
    'mae_vits16_300e': MAE,
    'mocov3_vits16_300e': MOCOV3,
}


@pytest.fixture
def shrink(image_folder, tmp_path):
    """A config with a tiny ViT and two iterations per epoch on small images."""

    def shrink_config(name: str) -> Config:
        cfg = Config.fromfile(FOLDER / f'{name}.py')
        cfg.model.backbone.update(arch=ARCH, img_size=64)
        if 'student_view' in cfg.model.data_preprocessor:
            cfg.model.data_preprocessor.student_view.size = 64
        cfg.train_dataloader.dataset.pipeline[1].size = 64
        cfg.merge_from_dict(
            {
                'train_dataloader.batch_size': 6,
                'train_dataloader.num_workers': 0,
                'train_dataloader.dataset.data_root': str(image_folder),
                'train_cfg.max_epochs': 2,
                'default_hooks.checkpoint.interval': 1,
                'default_hooks.logger.interval': 1,
                'visualizer.vis_backends': [dict(type='LocalVisBackend')],
                **CONFIGS[name],
            }
        )
        cfg.work_dir = str(tmp_path / name)
        return cfg

    return shrink_config


def networks_of(model) -> dict[str, torch.nn.Module]:
    """The ViTs of a model under the names that ``key`` has for them, the default one first."""
    if hasattr(model, 'teacher'):
        return dict(teacher=model.teacher.backbone, student=model.backbone)
    if hasattr(model, 'momentum_encoder'):
        return dict(teacher=model.momentum_encoder.module[0], student=model.backbone)
    return dict(backbone=model.backbone)


def assert_same_weights(vit: FLSLVisionTransformer, trained: torch.nn.Module) -> None:
    """All weights but the class token, and its row of the position table."""
    expected = trained.state_dict()
    expected['pos_embed'] = expected['pos_embed'][:, -vit.pos_embed.shape[1] :]
    for name, value in vit.state_dict().items():
        assert torch.equal(value, expected[name]), name


def assert_same_tokens(vit: FrozenViT, trained: torch.nn.Module) -> None:
    """The trained network's patch tokens, with its class token in the sequence if it has one."""
    image = torch.randn(1, 3, *trained.img_size, generator=torch.Generator().manual_seed(0))
    trained = copy.deepcopy(trained)
    trained.eval()  # MoCo v3's returns None
    trained.out_type = 'raw'
    no_mask = (None,) if hasattr(trained, 'mask_ratio') else ()
    with torch.no_grad():
        expected = trained(image, *no_mask)[-1]
        [found] = vit.forward_tokens([image])
    assert torch.allclose(found, expected[:, -found.shape[1] :], atol=1e-5)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_trains_resumes_and_is_read_back(make_runner, shrink, name, tmp_path):
    cfg = shrink(name)
    runner = make_runner(cfg)
    runner.train()
    log = next(Path(cfg.work_dir).glob('*/vis_data/scalars.json')).read_text().splitlines()
    assert len(log) == 4 and '"loss"' in log[-1] and '"images_per_second"' in log[-1]

    last = Path(cfg.work_dir) / 'epoch_2.pth'
    networks = networks_of(runner.model)
    assert_same_tokens(build_vit(str(last)), next(iter(networks.values())))
    for key, trained in networks.items():
        vit = FLSLVisionTransformer(ARCH, img_size=64, patch_size=cfg.model.backbone.patch_size)
        report = load_pretrained(vit, str(last), key=None if key == 'backbone' else key)
        assert (report.network, report.num_heads) == (key, 2)
        assert_same_weights(vit, trained)

    cfg.work_dir = str(tmp_path / 'resumed')
    Path(cfg.work_dir).mkdir()
    shutil.copy(last.with_name('epoch_1.pth'), cfg.work_dir)
    resumed = make_runner(cfg, resume=True)
    resumed.train()
    for parameter, value in runner.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[parameter]), parameter


def train_in_one_process(rank: int, make_runner, cfg: Config, port: int) -> None:
    torch.set_num_threads(1)
    variables = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_PORT=port)
    os.environ.update({name: str(value) for name, value in variables.items()})
    os.environ['MASTER_ADDR'] = '127.0.0.1'
    make_runner(cfg).train()


@pytest.mark.parametrize('name', ['mae_vits16_300e', 'mocov3_vits16_300e'])
def test_a_baseline_trains_in_two_processes(make_runner, shrink, name):
    """Two iterations: DDP complains in the second about what the first left without gradient."""
    cfg = shrink(name)
    cfg.launcher = 'pytorch'
    cfg.train_dataloader.batch_size = 3
    cfg.train_cfg.max_epochs = 1
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    mp.start_processes(
        train_in_one_process, (make_runner, cfg, port), nprocs=2, start_method='fork'
    )
    assert (Path(cfg.work_dir) / 'epoch_1.pth').is_file()


def test_the_demos_differ_in_the_objective_alone():
    dino, flsl = (Config.fromfile(FOLDER / f'{n}_vit-tiny_demo.py') for n in ('dino', 'flsl'))
    for part in (dino, flsl):
        for name in ('type', 'neck', 'head'):
            part.model.pop(name)
    assert flsl.default_hooks.schedule.pop('positional').target.startswith('neck.')
    assert dino.default_hooks.schedule.pop('positional') is None
    assert dino.to_dict() == flsl.to_dict()

"""Every pretraining config, shrunk by overrides alone, trains, resumes and is read back."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import flsl_mm  # noqa: F401
from flsl_mm.checkpoint import load_pretrained
from flsl_mm.models import FLSLVisionTransformer, build_vit

FOLDER = Path(__file__).parents[2] / 'configs/pretrain'
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
HEAD = dict(in_channels=32, num_prototypes=16, hidden_channels=32, bottleneck_channels=8)


@pytest.fixture
def shrink(image_folder, tmp_path):
    """A config with a tiny ViT and two iterations per epoch on small images."""

    def shrink_config(name: str) -> Config:
        cfg = Config.fromfile(FOLDER / f'{name}.py')
        cfg.model.backbone.update(arch=ARCH, img_size=64)
        cfg.model.head.update(HEAD)
        cfg.model.data_preprocessor.student_view.size = 64
        cfg.model.data_preprocessor.local_views.size = 32
        cfg.train_dataloader.update(batch_size=6, num_workers=0)
        cfg.train_dataloader.dataset.data_root = str(image_folder)
        cfg.train_dataloader.dataset.pipeline[1].size = 64
        cfg.train_cfg.max_epochs = 2
        cfg.default_hooks.checkpoint.interval = 1
        cfg.default_hooks.logger.interval = 1
        cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
        cfg.work_dir = str(tmp_path / name)
        return cfg

    return shrink_config


@pytest.mark.parametrize('name', ['dino_vits16_300e', 'dino_vit-tiny_demo'])
def test_a_baseline_trains_resumes_and_is_read_back(make_runner, shrink, name, tmp_path):
    cfg = shrink(name)
    runner = make_runner(cfg)
    runner.train()
    log = next(Path(cfg.work_dir).glob('*/vis_data/scalars.json')).read_text()
    assert len(log.splitlines()) == 4 and '"loss_dino"' in log

    last = Path(cfg.work_dir) / 'epoch_2.pth'
    for key, backbone in (
        ('teacher', runner.model.teacher.backbone),
        ('student', runner.model.backbone),
    ):
        vit = build_vit(str(last), key=key)
        assert vit.layers[0].attn.num_heads == 2
        for parameter, value in vit.state_dict().items():
            assert torch.equal(value, backbone.state_dict()[parameter]), parameter
        other = FLSLVisionTransformer(ARCH, img_size=64, patch_size=vit.patch_size)
        assert load_pretrained(other, str(last), key=key).network == key

    cfg.work_dir = str(tmp_path / 'resumed')
    Path(cfg.work_dir).mkdir()
    shutil.copy(last.with_name('epoch_1.pth'), cfg.work_dir)
    make_runner(cfg, resume=True).train()
    resumed = torch.load(Path(cfg.work_dir) / 'epoch_2.pth', weights_only=False)
    whole = torch.load(last, weights_only=False)
    for parameter, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][parameter]), parameter


def test_the_demos_differ_in_the_objective_alone():
    dino, flsl = (Config.fromfile(FOLDER / f'{n}_vit-tiny_demo.py') for n in ('dino', 'flsl'))
    for part in (dino, flsl):
        for name in ('type', 'neck', 'head'):
            part.model.pop(name)
    assert dino.to_dict() == flsl.to_dict()

"""Each ablation differs from the base in what its table says, and nothing else."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import flsl_mm  # noqa: F401
from flsl_mm.apis.ablation_table import read_ablation_tables

CONFIGS = Path(__file__).parents[2] / 'configs'
BASE = CONFIGS / 'pretrain/flsl_vits16_100e.py'
TABLES = {table.name: table for table in read_ablation_tables(CONFIGS / 'ablations')}
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)

# What a label says about a config.
MEANING = {
    'loss-weights': lambda label: dict(
        zip(
            [f'model.head.loss_weights.{name}' for name in ('intra', 'inter', 'volume')],
            map(float, label.split(',')),
        )
    ),
    'sinkhorn': lambda label: {
        'model.head.teacher_norm': 'sinkhorn',
        'model.head.loss_weights.intra': float(label),
        'model.head.loss_weights.volume': 1.0,
    },
    'prototypes': lambda label: {'model.head.num_prototypes': int(label)},
    'batch': lambda label: {'train_dataloader.batch_size': int(label) // 8},
    'window': lambda label: {
        f'model.neck.window_sizes.{kind}': int(label) for kind in ('global', 'local')
    },
}
DEFAULTS = {'model.neck.window_sizes.global': 2, 'model.neck.window_sizes.local': 2}


def flatten(value, prefix: str = '') -> dict:
    if not isinstance(value, dict):
        return {prefix[:-1]: value}
    return {
        k: v for key, item in value.items() for k, v in flatten(item, f'{prefix}{key}.').items()
    }


def settings(path: Path) -> dict:
    return {**DEFAULTS, **flatten(Config.fromfile(path).to_dict())}


@pytest.mark.parametrize('name', MEANING)
def test_a_cell_differs_from_the_base_in_what_its_label_says(name):
    base = settings(BASE)
    for cell in TABLES[name].cells:
        assert settings(cell.config) == {**base, **MEANING[name](cell.label)}, cell.label


def test_every_config_is_a_cell_of_a_table_named_as_its_folder():
    for path in (CONFIGS / 'ablations').glob('*/*.py'):
        assert path in [cell.config for cell in TABLES[path.parent.name].cells]


def test_the_same_network_has_the_same_reported_figure():
    cells = [cell for table in TABLES.values() for cell in table.cells]
    reported = {cell.config: cell.reported for cell in cells}
    assert all(cell.reported == reported[cell.config] for cell in cells)


@pytest.mark.parametrize('cell', TABLES['options'].cells[1:], ids=lambda cell: cell.label)
def test_every_option_trains(cell, make_runner, image_folder, tmp_path):
    from flsl_mm.models import FLSLVisionTransformer

    cfg = Config.fromfile(cell.config)
    cfg.model.backbone.update(arch=ARCH, img_size=64)
    cfg.model.head.update(
        in_channels=32, num_prototypes=16, hidden_channels=32, bottleneck_channels=8
    )
    cfg.model.data_preprocessor.student_view.size = 64
    if cfg.model.data_preprocessor.local_views:
        cfg.model.data_preprocessor.local_views.size = 32
    if 'previous_teacher' in cfg.model:
        vit = FLSLVisionTransformer(ARCH, img_size=64)
        torch.save(vit.state_dict(), tmp_path / 'vit.pth')
        cfg.model.previous_teacher.update(arch=ARCH, img_size=64)
        cfg.model.previous_teacher.init_cfg = dict(
            type='PretrainedViT', checkpoint=str(tmp_path / 'vit.pth')
        )
    cfg.train_dataloader.dataset.pipeline[1].size = 64
    cfg.train_dataloader.dataset.data_root = str(image_folder)
    cfg.train_dataloader.update(batch_size=6, num_workers=0)
    cfg.train_cfg.max_epochs = 1
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    cfg.work_dir = str(tmp_path / 'run')
    runner = make_runner(cfg)
    runner.train()
    assert runner.iter == 2 and (tmp_path / 'run/epoch_1.pth').is_file()

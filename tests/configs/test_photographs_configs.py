"""The configs of the study on photographs."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmpretrain.registry import MODELS

from flsl_mm.apis.ablation_table import read_ablation_tables
from flsl_mm.apis.frozen import read_tasks

CONFIGS = Path(__file__).parents[2] / 'configs'
FOLDER = CONFIGS / 'photographs'
FILES = sorted(FOLDER.glob('**/*.py'))
IDS = [path.stem for path in FILES]


def test_the_tables_have_every_config_and_each_the_recipe():
    folders = (FOLDER, *sorted(path.parent for path in FOLDER.glob('*/tables.yml')))
    tables = [table for folder in folders for table in read_ablation_tables(folder)]
    assert len(folders) == 4
    assert {cell.config.resolve() for table in tables for cell in table.cells} == set(FILES)
    assert all('flsl_photos' in [cell.config.stem for cell in table.cells] for table in tables)
    untrained = [cell.config.stem for table in tables for cell in table.cells if cell.untrained]
    assert untrained == ['flsl_photos'] * 2
    readme = (FOLDER / 'README.md').read_text()
    assert all(f'`{path.relative_to(FOLDER)}`' in readme for path in FILES)


@pytest.mark.parametrize('file', FILES, ids=IDS)
def test_all_have_the_same_network_and_images(file):
    cfg = Config.fromfile(file)
    if cfg.model.backbone.type != 'PretrainedNetwork':  # of a file's design, see below
        backbone = MODELS.build(cfg.model).backbone
        assert (backbone.embed_dims, len(backbone.layers)) == (192, 4)
        assert backbone.layers[0].attn.num_heads == 3
        assert backbone.patch_embed.projection.kernel_size == (8, 8)
    assert cfg.train_dataloader.dataset.data_root == 'data/photographs/pretrain'
    assert cfg.train_dataloader.batch_size == 32
    assert cfg.optim_wrapper.precision == 'auto'


def test_on_top_of_mae_methods_differ_in_the_method_alone():
    flsl, dino = (Config.fromfile(FOLDER / f'{name}_on-mae_photos.py') for name in ('flsl', 'dino'))
    for name in ('pretrained', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'train_dataloader'):
        assert flsl[name] == dino[name]
    assert flsl.default_hooks.freeze_backbone == dino.default_hooks.freeze_backbone
    assert flsl.model.data_preprocessor == dino.model.data_preprocessor
    assert flsl.model.backbone.position_window == dino.model.backbone.position_window
    cells = [cell for table in read_ablation_tables(FOLDER) for cell in table.cells if cell.after]
    assert [cell.label for cell in cells] == ['FLSL on MAE', 'DINO on MAE']
    assert {cell.after.name for cell in cells} == {'mae_photos.py'}
    assert dino.model.head.in_channels == Config.fromfile(cells[0].after).embed_dims


def test_frozen_tasks_may_lie_elsewhere():
    tasks = read_tasks(CONFIGS / 'frozen/photographs.py', {'davis.data_root': 'there'})
    assert (
        set(tasks) == {'knn', 'knn9', 'davis', 'dense', 'clothing'}
        and tasks['davis']['data_root'] == 'there'
    )

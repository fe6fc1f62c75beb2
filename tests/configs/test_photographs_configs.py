"""The configs of the study on photographs."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmpretrain.registry import MODELS

from flsl_mm.apis.ablation_table import read_ablation_tables
from flsl_mm.apis.frozen import read_tasks

CONFIGS = Path(__file__).parents[2] / 'configs'
FOLDER = CONFIGS / 'photographs'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))


def test_the_study_has_every_config_and_the_network_untrained():
    [table] = read_ablation_tables(FOLDER)
    assert sorted({cell.config.stem for cell in table.cells}) == NAMES
    assert [cell.config.stem for cell in table.cells if cell.untrained] == ['flsl_photos']
    readme = (FOLDER / 'README.md').read_text()
    assert all(f'`{name}.py`' in readme for name in NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_all_have_the_same_network_and_images(name):
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    backbone = MODELS.build(cfg.model).backbone
    assert (backbone.embed_dims, len(backbone.layers)) == (192, 4)
    assert backbone.layers[0].attn.num_heads == 3
    assert backbone.patch_embed.projection.kernel_size == (8, 8)
    assert cfg.train_dataloader.dataset.data_root == 'data/photographs/pretrain'
    assert cfg.optim_wrapper.precision == 'bfloat16'


def test_frozen_tasks_may_lie_elsewhere():
    tasks = read_tasks(CONFIGS / 'frozen/photographs.py', {'davis.data_root': 'there'})
    assert set(tasks) == {'knn', 'davis', 'dense'} and tasks['davis']['data_root'] == 'there'

"""Configs as runs of earlier versions have dumped them: other import paths and type names."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS, init_default_scope
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from flsl_mm.registry import FROZEN_TASKS

DUMPED = Path(__file__).parent / 'dumped'


def test_a_pretraining_goes_on_as_it_was(image_folder, tmp_path, make_runner):
    cfg = Config.fromfile(DUMPED / 'pretraining.py')
    cfg.work_dir = str(tmp_path)
    cfg.train_dataloader.update(batch_size=6)
    cfg.train_dataloader.dataset.data_root = str(image_folder)
    cfg.train_cfg.max_epochs = 1
    model = make_runner(cfg).train()
    assert all(p.isfinite().all() for p in model.parameters())
    assert (tmp_path / 'epoch_1.pth').is_file()


def test_a_frozen_task_and_its_pipeline_are_built(imagenet_boxes):
    task = Config.fromfile(DUMPED / 'box_knn.py').task
    task.update(data_root=str(imagenet_boxes), train_per_class=None, ks=(5,))
    assert FROZEN_TASKS.build(task)
    old, new = (TRANSFORMS.build(dict(type=t, size=8)) for t in ('CentreCrop', 'CenterCropBoxes'))
    assert type(old) is type(new)


def test_a_segmentation_that_imports_from_the_old_place_is_built(tmp_path):
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(DUMPED / 'ade20k_knn.py')
    assert 'flsl_mm.datasets.ade20k' in cfg.custom_imports.imports
    init_default_scope('mmseg')
    cfg.model.backbone.update(init_cfg=None)
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.backbone.parameters()) > 20e6
    assert METRICS.build(cfg.test_evaluator)
    for split in ('training', 'validation'):
        for kind, ending in (('images', 'jpg'), ('annotations', 'png')):
            folder = tmp_path / kind / split
            folder.mkdir(parents=True)
            mode = 'RGB' if kind == 'images' else 'L'
            Image.new(mode, (40, 30), 1).save(folder / f'a.{ending}')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(tmp_path)
        [sample] = DATASETS.build(loader.dataset)
        assert sample['data_samples'].gt_sem_seg.data.unique().tolist() == [0]

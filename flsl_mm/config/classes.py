"""Classes of one's own: the data say which there are, and the heads have as many."""

import os.path as osp
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from ..datasets.coco_file import category_names
from ..utils.colors import distinct_colors
from ..utils.errors import ConfigError

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def use_classes(cfg: Config) -> None:
    """Give every head of a config as many classes as its training data have, in place.

    They are those of the data set's ``metainfo.classes``, which configs build from a variable
    ``classes``. Where that is None, a COCO-style file says them itself: all its categories, in its
    order. All data sets and heads of the config get the same, and classes without colors get some,
    so that the checkpoint knows both. Data sets whose classes are their own (COCO's 80, ADE20K,
    UAVDT) are left as they are. Doing it twice changes nothing.

    Args:
        cfg: Config of a run, its custom imports done.

    Raises:
        ConfigError: The classes are no list of different names.
        DataError: The annotation file cannot be used.
    """
    datasets = [d for loader in LOADERS for d in _datasets((cfg.get(loader) or {}).get('dataset'))]
    if not datasets:
        return
    classes = (datasets[0].get('metainfo') or {}).get('classes')
    if classes is None:
        classes = _classes_in_file(datasets[0], cfg.get('default_scope'))
    if classes is None:
        return
    classes = _check_names(classes)
    for dataset in datasets:
        meta = dict(dataset.get('metainfo') or {})
        meta.setdefault('classes', classes)
        if len(meta.get('palette') or ()) != len(classes):
            meta['palette'] = distinct_colors(len(classes))
        dataset['metainfo'] = meta
    for head in _classifiers(cfg.get('model')):
        head['num_classes'] = len(classes)


def stated_classes(cfg: Config) -> tuple[str, ...] | None:
    """The classes of a config's training data, of one without those of its test data.

    Of ``metainfo``, else those that the type of data set has by itself; None where it has none.
    """
    for loader in LOADERS:
        for dataset in _datasets((cfg.get(loader) or {}).get('dataset')):
            classes = (dataset.get('metainfo') or {}).get('classes')
            classes = classes or _usual_classes(dataset, cfg.get('default_scope'))
            return None if classes is None else tuple(classes)
    return None


def _datasets(part: Any) -> Iterator[dict]:
    """The data sets in a part of a config, also those in wrappers such as ``RepeatDataset``."""
    if isinstance(part, (list, tuple)):
        for item in part:
            yield from _datasets(item)
    elif isinstance(part, dict):
        inner = [part[key] for key in ('dataset', 'datasets') if key in part]
        yield from _datasets(inner) if inner else [part]


def _usual_classes(dataset: Mapping[str, Any], scope: str | None) -> tuple[str, ...] | None:
    kind = dataset.get('type')
    if isinstance(kind, str):
        kind = DATASETS.get(kind if '.' in kind or not scope else f'{scope}.{kind}')
    return getattr(kind, 'METAINFO', {}).get('classes')


def _classes_in_file(dataset: Mapping[str, Any], scope: str | None) -> list[str] | None:
    """Those of a COCO-style annotation file; None where they are the usual, or there is none."""
    if 'CheckedCocoDataset' not in str(dataset.get('type')):
        return None
    path = osp.join(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if not osp.isfile(path):
        return None  # which the data set says better
    names = category_names(path)
    usual = _usual_classes(dataset, scope)
    return None if usual and sorted(names) == sorted(usual) else names


def _check_names(classes: Any) -> list[str]:
    """The names as a list.

    Raises:
        ConfigError: They are none.
    """
    if isinstance(classes, str) and osp.isfile(classes):  # as mmengine reads them, one a line
        classes = list_from_file(classes)
    names = list(classes) if isinstance(classes, (list, tuple)) else []
    texts = all(isinstance(name, str) and name for name in names)
    if not names or not texts or len(set(names)) < len(names):
        raise ConfigError(
            f'classes must be a list of different names, such as classes=[cat,dog], got {classes!r}'
        )
    return names


def _classifiers(part: Any, name: str = 'model') -> Iterator[dict]:
    """Every part of a model that has ``num_classes``, save region proposals."""
    if isinstance(part, (list, tuple)):
        for item in part:
            yield from _classifiers(item, name)
    elif isinstance(part, dict) and name not in ('backbone', 'rpn_head'):
        if 'num_classes' in part:
            yield part
        for key, item in part.items():
            yield from _classifiers(item, key)

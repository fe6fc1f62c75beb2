"""A recipe that chooses itself: what a config leaves ``'auto'`` follows from images and machine.

The rules are below, one function each, in the order in which they are applied; docs/own_images.md
has them in words. They are rules of thumb. Of what they choose only the CPU's sizes have been
measured (docs/photographs.md).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmpretrain.registry import DATASETS

from ..datasets.image_channels import image_size
from ..utils.counts import counted, every
from ..utils.errors import ConfigError, DataError
from ..utils.images import evenly_spaced
from .variables import entry_at, set_entry
from .width import AUTO, backbone_width

LOOKED_AT = 200  # images whose size is read
SMALLEST_VIEW = 32  # pixels


class Facts(NamedTuple):
    """What the choice follows from.

    Attributes:
        images: Their number.
        short_side: Median of their short sides in pixels; None where it cannot be read off files.
        gpu: Whether there is one.
        processes: That train together.
        cores: Of the processor, for each process.
    """

    images: int
    short_side: int | None
    gpu: bool
    processes: int
    cores: int


Choice = Mapping[str, Any]  # by rule: what was given, or chosen before


def _view(facts: Facts, _: Choice) -> int:
    usual = 224 if facts.gpu else 96
    side = min(usual, facts.short_side or usual)
    return max(SMALLEST_VIEW, side // 16 * 16)


def _patch(_: Facts, chosen: Choice) -> int:
    return 8 if chosen['view'] <= 128 else 16


def _network(facts: Facts, _: Choice) -> str | dict:
    if facts.gpu:
        return 'deit-small' if facts.images >= 50_000 else 'deit-tiny'
    return dict(embed_dims=192, num_layers=4, num_heads=3, feedforward_channels=768)


def _patches(share: float, chosen: Choice) -> int:
    """A share of the teacher view's side in whole patches, at least two."""
    patch = chosen['patch']
    return max(2, round(share * chosen['view'] / patch)) * patch


def _prototypes(facts: Facts, _: Choice) -> int:
    return 512 if facts.images < 20_000 else 1024 if facts.images < 200_000 else 4096


def _batch(facts: Facts, _: Choice) -> int:
    batch = 128 if facts.gpu else 32
    while batch > 4 and facts.images < 8 * batch * facts.processes:
        batch //= 2
    return batch


def _epoch(facts: Facts, chosen: Choice) -> int:
    """Iterations of an epoch."""
    return max(1, facts.images // (chosen['batch'] * facts.processes))


def _epochs(facts: Facts, chosen: Choice) -> int:
    wanted = 50_000 if facts.gpu else 2_000
    return min(1000, max(5, ceil(wanted / _epoch(facts, chosen))))


def _rate(facts: Facts, chosen: Choice) -> float:
    """On a CPU, with batches of 32, the better of three rates in docs/photographs.md."""
    width = backbone_width(dict(arch=chosen['network']))
    return 1e-3 if facts.gpu and width <= 192 else 5e-4


def _momentum(facts: Facts, chosen: Choice) -> float:
    return 0.98 if chosen['epochs'] * _epoch(facts, chosen) < 10_000 else 0.996


def _save_every(_: Facts, chosen: Choice) -> int:
    return max(1, chosen['epochs'] // 10)


def _lines(facts: Facts, chosen: Choice) -> int:
    return min(50, max(1, chosen['epochs'] * _epoch(facts, chosen) // 100))


def _workers(facts: Facts, _: Choice) -> int:
    return 0 if facts.cores < 4 else min(8, facts.cores // 2)


class Rule(NamedTuple):
    """How one thing is chosen, and where in a config it stands."""

    choose: Callable[[Facts, Choice], Any]
    paths: tuple[str, ...]


PIPELINE = 'train_dataloader.dataset.pipeline'
RULES = {
    'view': Rule(_view, ('model.backbone.img_size', f'{PIPELINE}.1.size')),
    'patch': Rule(_patch, ('model.backbone.patch_size',)),
    'network': Rule(_network, ('model.backbone.arch',)),
    'student view': Rule(
        lambda _, chosen: _patches(2 / 3, chosen), ('model.data_preprocessor.student_view.size',)
    ),
    'local views': Rule(
        lambda _, chosen: _patches(1 / 3, chosen), ('model.data_preprocessor.local_views.size',)
    ),
    'decoded': Rule(lambda _, chosen: chosen['view'] * 4 // 3, (f'{PIPELINE}.0.min_side',)),
    'prototypes': Rule(_prototypes, ('model.head.num_prototypes',)),
    'batch': Rule(_batch, ('train_dataloader.batch_size',)),
    'epochs': Rule(_epochs, ('train_cfg.max_epochs',)),
    'rate': Rule(_rate, ('optim_wrapper.optimizer.lr',)),
    'momentum': Rule(_momentum, ('model.momentum', 'default_hooks.schedule.momentum.start')),
    'save': Rule(_save_every, ('default_hooks.checkpoint.interval',)),
    'lines': Rule(_lines, ('default_hooks.logger.interval',)),
    'workers': Rule(_workers, ('train_dataloader.num_workers',)),
}


def choose_settings(cfg: Config) -> list[str]:
    """Fill in what a pretraining config leaves ``'auto'``, in place.

    What the config or the command line gives is kept, and what depends on it follows it.

    Args:
        cfg: Config of a run. One of other data than :class:`UnlabeledImages`, or without any
            ``'auto'`` of these rules, is left as it is.

    Returns:
        list[str]: The chosen values in a few lines; empty where nothing was to choose.

    Raises:
        DataError: There are no images.
        ConfigError: Entries that must agree were given different values.
    """
    if _entry(cfg, 'train_dataloader.dataset.type') != 'UnlabeledImages':
        return []  # a detector's 'auto' is another's
    if not any(_entry(cfg, path) == AUTO for rule in RULES.values() for path in rule.paths):
        return []
    facts = look_at(cfg)
    chosen: dict[str, Any] = {}
    for name, rule in RULES.items():
        given = {path: value for path in rule.paths if (value := _entry(cfg, path)) != AUTO}
        values = list(given.values())
        if any(value != values[0] for value in values):
            raise ConfigError(' and '.join(f'{p}={v}' for p, v in given.items()) + ' must agree')
        chosen[name] = values[0] if values else rule.choose(facts, chosen)
        for path in rule.paths:
            set_entry(cfg, _path(path), chosen[name])
    return list(_table(facts, chosen))


def look_at(cfg: Config) -> Facts:
    """Count the images of a config, and look at the sizes of some.

    Raises:
        DataError: There are none.
    """
    settings = {k: v for k, v in cfg.train_dataloader.dataset.items() if k != 'pipeline'}
    dataset = DATASETS.build(settings)
    sides = []
    for index in evenly_spaced(range(len(dataset)), LOOKED_AT):
        try:
            found = dataset.get_data_info(index)
            if 'img_bytes' not in found:  # in tar files
                sides.append(min(image_size(found['img_path'])))
        except (OSError, ValueError, SyntaxError):
            continue  # what cannot be read is counted in training
    if not sides and not len(dataset):
        raise DataError(f'no images in {settings.get("data_root")}')
    processes = max(get_world_size(), int(os.environ.get('WORLD_SIZE', 1)))
    here = int(os.environ.get('LOCAL_WORLD_SIZE', processes))
    return Facts(
        images=len(dataset),
        short_side=sorted(sides)[len(sides) // 2] if sides else None,
        gpu=torch.cuda.is_available(),
        processes=processes,
        cores=max(1, len(os.sched_getaffinity(0)) // here),
    )


def _table(facts: Facts, chosen: Choice) -> Iterator[str]:
    size = f', median short side {facts.short_side} pixels' if facts.short_side else ''
    where = 'a GPU' if facts.gpu else 'a CPU'
    cores = counted(facts.cores, 'core')
    yield f'recipe for {counted(facts.images, "image")}{size}, {where} ({cores} a process):'
    arch = chosen['network']
    if not isinstance(arch, str):
        arch = f'{arch["embed_dims"]} wide, {counted(arch["num_layers"], "block")}'
    views = ', '.join(str(chosen[n]) for n in ('view', 'student view', 'local views'))
    yield f'  network     {arch}, patches of {chosen["patch"]}; {chosen["prototypes"]} prototypes'
    yield f'  views       {views} pixels (teacher, student, local)'
    steps = counted(chosen['epochs'] * _epoch(facts, chosen), 'iteration')
    epochs, batch = counted(chosen['epochs'], 'epoch'), counted(chosen['batch'], 'image')
    yield (
        f'  training    {epochs}, {steps} of {batch}'
        + (f' on each of {facts.processes} processes' if facts.processes > 1 else '')
        + f'; learning rate {chosen["rate"]:g}, momentum from {chosen["momentum"]:g}'
    )
    yield (
        f'  files       saved {every(chosen["save"], "epoch")}, a line '
        f'{every(chosen["lines"], "iteration")}, {counted(chosen["workers"], "data worker")}'
    )


def _entry(cfg: Config, name: str) -> Any:
    """What stands at a dotted name; None where there is nothing."""
    return entry_at(cfg, _path(name), None)


def _path(name: str) -> list[str | int]:
    """The keys of a dotted name."""
    return [int(key) if key.isdecimal() else key for key in name.split('.')]

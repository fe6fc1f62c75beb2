"""All of a run takes the images that its backbone does, also of one channel or of many."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mmengine.config import Config
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch import nn

from ..checkpoint.layouts import recorded_statistics
from ..checkpoint.loading import open_checkpoint
from ..datasets.image_channels import COLORS
from ..models.data_preprocessors import ManyChannelPreprocessor, MultiViewPreprocessor
from ..utils.counts import counted
from ..utils.errors import ConfigError, DataError
from ..utils.images import IMAGENET_MEAN, IMAGENET_STD, check_statistics, evenly_spaced
from .classes import LOADERS
from .parts import parts_of_type, type_name
from .width import AUTO

LOOKED_AT = 200  # images whose pixels are measured
LIBRARIES = 'DetDataPreprocessor', 'SegDataPreProcessor'
READERS = 'LoadRGBImage', 'LoadImageFromFile'

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
Start = Callable[[], str | None]


def follow_channels(cfg: Config, start: Start | None = None) -> list[str]:
    """Let readers and pixel statistics have the channels of ``model.backbone``, in place.

    ``model.backbone.in_channels`` alone is enough where the file that the network starts from
    records the statistics of its pixels, and in pretraining, where they are measured on some of the
    images; else ``mean`` and ``std`` of the data preprocessor are needed, a number for each
    channel. Networks for RGB are left as they are.

    Args:
        cfg: Config of a run.
        start: Names the checkpoint that the run goes on from, if there is one; ``load_from`` by
            default.

    Returns:
        list[str]: The statistics that were taken, as a line; empty where they were given.

    Raises:
        ConfigError: There are no statistics for the channels, or they are of others; the model is
            of a kind that takes RGB only; or a reader gives other channels.
        DataError: None of the images that were looked at has such channels.
    """
    model = cfg.get('model') or {}
    backbone = model.get('backbone')
    channels = (backbone or {}).get('in_channels', COLORS)
    if channels in (COLORS, AUTO):
        return []
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise ConfigError(
            f'model.backbone.in_channels must be a whole number, at least 1, got {channels!r}'
        )
    preprocessor = model.get('data_preprocessor')
    kind = type_name(preprocessor)
    if kind not in (*LIBRARIES, MultiViewPreprocessor.__name__, ManyChannelPreprocessor.__name__):
        raise ConfigError(
            f'model.backbone.in_channels={channels}: other images than RGB are taken by FLSL and '
            'DINO in pretraining and by detectors and segmentors'
        )
    datasets = [(cfg.get(loader) or {}).get('dataset') for loader in LOADERS]
    for reader in parts_of_type(datasets, *READERS):
        _set_reader(reader, channels)
    if next(parts_of_type(datasets, 'PhotoMetricDistortion'), None) is not None:
        if channels < COLORS or cfg.get('default_scope') != 'mmseg':
            raise ConfigError(
                f'PhotoMetricDistortion changes colors, and model.backbone.in_channels is '
                f'{channels}: leave it out of train_dataloader.dataset.pipeline'
            )
    statistics, source = _find_statistics(cfg, channels, start)
    preprocessor.mean, preprocessor.std = map(list, statistics)
    if kind in LIBRARIES and channels == 1:
        preprocessor.bgr_to_rgb = False
    elif kind in LIBRARIES:
        own = dict(type=ManyChannelPreprocessor.__name__)
        own |= {name: preprocessor.pop(name) for name in ('mean', 'std')}
        own['bgr_to_rgb'] = preprocessor.pop('bgr_to_rgb', False)
        model.data_preprocessor = dict(own, inner=preprocessor)
    if not source:
        return []
    mean, std = (', '.join(f'{value:g}' for value in values) for values in statistics)
    return [f'images of {counted(channels, "channel")}, mean {mean}, deviation {std} ({source})']


def pixel_statistics(model: nn.Module) -> dict[str, list[float]]:
    """``mean`` and ``std`` of the pixels of a model, for its checkpoints; empty if unknown."""
    found = {}
    for name in ('mean', 'std'):
        values = getattr(getattr(model, 'data_preprocessor', None), name, None)
        if values is None:
            return {}
        found[name] = [float(value) for value in getattr(values, 'flatten', lambda v=values: v)()]
    return found


def _set_reader(reader: dict, channels: int) -> None:
    """Let a transform give images of so many channels.

    Raises:
        ConfigError: It was told to give others.
    """
    if type_name(reader) == 'LoadRGBImage':
        if reader.setdefault('channels', channels) != channels:
            raise ConfigError(
                f'LoadRGBImage: channels={reader.channels}, but model.backbone.in_channels is '
                f'{channels}: leave channels out, it follows the backbone'
            )
        return
    wanted = 'grayscale' if channels == 1 else 'unchanged'
    if reader.get('color_type', 'color') not in ('color', wanted):
        raise ConfigError(
            f'LoadImageFromFile: color_type={reader.color_type!r}, but model.backbone.in_channels '
            f'is {channels}: leave color_type out, it follows the backbone'
        )
    reader['color_type'] = wanted


def _find_statistics(cfg: Config, channels: int, start: Start | None) -> tuple[Statistics, str]:
    """The statistics of the pixels, and where they are from; '' where they were given.

    Raises:
        ConfigError: There are none, or of other channels.
    """
    given = [cfg.model.data_preprocessor.get(name) for name in ('mean', 'std')]
    usual = [list(IMAGENET_MEAN), list(IMAGENET_STD)]  # of a config for RGB
    if not all(g is None or list(g) == u for g, u in zip(given, usual)):
        return check_statistics(given[0] or (), given[1] or (), channels), ''
    for file in (start() if start else cfg.get('load_from'), cfg.get('pretrained')):
        if file and os.path.isfile(file):
            found = recorded_statistics(open_checkpoint(file, cfg.get('trust', False)).other)
            if found is not None and len(found[0]) == channels:
                return found, f'of {file}'
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    if type_name(dataset) == 'UnlabeledImages':
        return _measure(dataset)
    raise ConfigError(
        f'model.backbone.in_channels={channels} needs the statistics of their pixels: '
        'model.data_preprocessor.mean and .std, a number for each channel, in 0-255'
    )


def _measure(settings: Mapping[str, Any]) -> tuple[Statistics, str]:
    """Statistics of the pixels of some images, each of which counts the same.

    Raises:
        ConfigError: Nothing of this project reads them.
        DataError: None can be read.
    """
    reader = next(parts_of_type(settings, READERS[0]), None)
    if reader is None:
        raise ConfigError(
            'the statistics of the pixels are measured with LoadRGBImage, which the pipeline has '
            'not: give model.data_preprocessor.mean and .std, a number for each channel'
        )
    load = TRANSFORMS.build({**reader, 'min_side': None})
    dataset = DATASETS.build({k: v for k, v in settings.items() if k != 'pipeline'})
    moments, reasons = [], []
    for index in evenly_spaced(range(len(dataset)), LOOKED_AT):
        found = dataset.get_data_info(index)
        try:
            pixels = load(dict(found, rng=np.random.default_rng(index)))['img']
        except OSError as error:
            reasons.append(f'{found["img_path"]}: {error}')
            continue
        levels = pixels.reshape(-1, pixels.shape[2]).astype(np.float64)
        moments.append([levels.mean(axis=0), (levels**2).mean(axis=0)])
    if not moments:
        raise DataError(
            f'none of {counted(len(reasons), "image")} that were looked at can be read, for '
            f'example {reasons[0]}'
        )
    mean, square = np.mean(moments, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0)).round(2)
    source = f'measured on {counted(len(moments), "image")}'
    if flat := [str(channel) for channel in np.flatnonzero(std == 0)]:
        source += f'; channel {", ".join(flat)} has one value everywhere'
    std = np.where(std == 0, 1, std)
    return (tuple(mean.round(2).tolist()), tuple(std.tolist())), source

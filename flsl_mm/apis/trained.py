"""Configs of what was trained, with what the checkpoint knows: its classes and its network."""

import argparse
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mmengine.config import Config

from ..checkpoint import read_checkpoint
from ..checkpoint.layouts import recorded_part
from ..config.classes import stated_classes
from ..config.width import AUTO
from ..datasets.image_channels import COLORS
from ..utils.errors import CheckpointError, ConfigError
from .command_line import read_config_file


def use_trained_settings(args: argparse.Namespace) -> None:
    """Let ``args.cfg_options`` say what the checkpoint knows and the config leaves open.

    That are the settings of the backbone that are ``'auto'``, which training has read off another
    file, with the statistics of other images than RGB, and the classes: so a label means what it
    meant in training, whatever data there are now.
    What the command line gives is left as it is.

    Args:
        args: With ``config``, ``checkpoint``, ``cfg_options`` and ``trust``.

    Raises:
        CheckpointError: The checkpoint cannot be read, or does not say what the network is like.
        FileNotFoundError: There is no config.
    """
    cfg = read_config_file(args.config, args.cfg_options)
    open_settings = _open_settings(cfg)
    open_classes = cfg.get('classes', ()) is None and 'classes' not in args.cfg_options
    if not open_settings and not open_classes:
        return
    checkpoint = read_checkpoint(args.checkpoint, args.trust)
    if open_settings:
        recorded = recorded_part(checkpoint, 'backbone')
        if lacking := [name for name in open_settings if recorded.get(name, AUTO) in (AUTO, None)]:
            raise CheckpointError(
                f'{args.checkpoint}: does not record model.backbone.{lacking[0]}, which '
                f'{args.config} leaves open: give the config in the work dir of its training'
            )
        found = {f'model.backbone.{name}': recorded[name] for name in open_settings}
        pixels = {}
        if recorded.get('in_channels', COLORS) != COLORS:
            known = recorded_part(checkpoint, 'data_preprocessor')
            kept = {name: known[name] for name in ('mean', 'std') if name in known}
            pixels = {f'model.data_preprocessor.{name}': values for name, values in kept.items()}
        args.cfg_options = {**pixels, **args.cfg_options, **found}
    if open_classes:
        _use_classes(args, cfg, checkpoint)


def _open_settings(cfg: Config) -> list[str]:
    """The settings of a detector's or segmentor's backbone that are ``'auto'``."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    return [name for name, value in backbone.items() if value == AUTO]


def _use_classes(args: argparse.Namespace, cfg: Config, checkpoint: Mapping[str, Any]) -> None:
    trained = ((checkpoint.get('meta') or {}).get('dataset_meta') or {}).get('classes')
    if trained and tuple(trained) != stated_classes(cfg):
        options = {**args.cfg_options, 'classes': list(trained)}
        with suppress(ConfigError):  # of a config that was dumped nothing follows its variables
            read_config_file(args.config, options)
            args.cfg_options = options

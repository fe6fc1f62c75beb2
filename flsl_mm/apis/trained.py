"""Configs of what was trained, with the classes that the checkpoint knows."""

import argparse
from contextlib import suppress

from ..checkpoint import read_checkpoint
from ..config.classes import stated_classes
from ..utils.errors import ConfigError
from .command_line import read_config_file


def use_trained_classes(args: argparse.Namespace) -> None:
    """Let ``args.cfg_options`` name the classes of the checkpoint, where the config names none.

    So a label means what it meant in training, whatever data there are now.

    Args:
        args: With ``config``, ``checkpoint``, ``cfg_options`` and ``trust``.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        FileNotFoundError: There is no config.
    """
    cfg = read_config_file(args.config, {})
    if cfg.get('classes', ()) is not None or 'classes' in args.cfg_options:
        return
    meta = read_checkpoint(args.checkpoint, args.trust).get('meta') or {}
    trained = (meta.get('dataset_meta') or {}).get('classes')
    if trained and tuple(trained) != stated_classes(cfg):
        options = {**args.cfg_options, 'classes': list(trained)}
        with suppress(ConfigError):  # of a config that was dumped nothing follows its variables
            read_config_file(args.config, options)
            args.cfg_options = options

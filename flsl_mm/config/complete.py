"""All that is made of the config of a run, and refused in it, before anything is built."""

import importlib

from mmengine.config import Config

from .channels import Start, follow_channels
from .classes import use_classes
from .design import take_design
from .entries import check_entries
from .numbers import check_numbers
from .pretrained import use_pretrained
from .recipe import choose_settings
from .variables import follow_variables
from .width import follow_backbone

# Of each scope, what registers the data sets and metrics that need its package. Our configs import
# them too; but the `custom_imports` of a config that inherits one take the place of ours.
SCOPE_MODULES = dict(mmdet='flsl_mm.datasets.checked_coco_dataset', mmseg='flsl_mm.segmentation')


def complete(cfg: Config, start: Start | None = None) -> list[str]:
    """Complete and check a config of a run, in place.

    Args:
        cfg: As its file and the command line have it.
        start: Names the checkpoint that the run goes on from, if there is one.

    Returns:
        list[str]: What was chosen for what it left ``'auto'``, line by line.

    Raises:
        ConfigError: An entry is out of range, read by nothing, or does not fit another.
        CheckpointError: A file that says what the network is like cannot be used.
    """
    follow_variables(cfg)
    chosen = [*choose_settings(cfg), *take_design(cfg), *follow_channels(cfg, start)]
    follow_backbone(cfg)
    check_numbers(cfg)
    if module := SCOPE_MODULES.get(cfg.get('default_scope')):
        importlib.import_module(module)
    check_entries(cfg)
    use_pretrained(cfg)
    use_classes(cfg)
    return chosen

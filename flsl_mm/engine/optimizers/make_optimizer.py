"""An optimizer of parameter groups, fused where torch can."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmpretrain.registry import OPTIMIZERS


def make_optimizer(
    config: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]
) -> torch.optim.Optimizer:
    """Build an optimizer.

    Args:
        config: Its type and arguments. ``fused=True`` is dropped, with a warning, where torch has
            no fused kernel for the device; the updates are the same.
        groups: Its parameter groups.
    """
    config = {**config, 'params': groups}
    try:
        # copies: an optimizer that refuses has already written its defaults into its groups
        return OPTIMIZERS.build({**config, 'params': [dict(group) for group in groups]})
    except RuntimeError as error:
        if not config.pop('fused', False):
            raise
        MMLogger.get_current_instance().warning(f'no fused optimizer: {error}')
        return OPTIMIZERS.build(config)

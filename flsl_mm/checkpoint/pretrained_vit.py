"""Pretrained weights as a config entry."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from .loading import load_pretrained


@WEIGHT_INITIALIZERS.register_module()
class PretrainedViT:
    """``init_cfg=dict(type='PretrainedViT', checkpoint=..., key='teacher')``.

    Unlike mmengine's ``Pretrained``, it reads every known layout and stops the run when the
    backbone is not fully covered.

    Args:
        checkpoint: Path; None keeps the random initialization and says so in the log.
        key: ``'teacher'`` or ``'student'``, see :func:`load_pretrained`.
        trust: Also read files that may execute code, see :func:`read_checkpoint`.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | None,
        key: str | None = None,
        trust: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.key = key
        self.trust = trust

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``.

        Raises:
            CheckpointError: The file cannot be used.
        """
        name = type(module).__name__
        if self.checkpoint is None:
            print_log(f'{name}: no pretrained weights given, training from scratch', 'current')
            return
        load_pretrained(module, self.checkpoint, self.key, self.trust)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'PretrainedViT: {self.checkpoint}')


def loads_a_file(init_cfg: Mapping[str, Any]) -> bool:
    """Whether an initialization is mmengine's or ours from a file, with or without its scope."""
    kind = init_cfg.get('type')
    name = getattr(kind, '__name__', kind)
    return str(name).rpartition('.')[2] in ('Pretrained', 'PretrainedInit', 'PretrainedViT')

"""Optimizer wrapper, parameter groups and clipping."""

from .clip_grad import clip_grad_norm_per_parameter_
from .flsl_optim_wrapper import FLSLOptimWrapper
from .layer_decay_constructor import LayerDecayConstructor
from .two_group_constructor import TwoGroupConstructor

__all__ = [
    'FLSLOptimWrapper',
    'LayerDecayConstructor',
    'TwoGroupConstructor',
    'clip_grad_norm_per_parameter_',
]

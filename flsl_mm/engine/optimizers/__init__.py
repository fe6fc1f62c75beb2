from .clip_grad import clip_grad_norm_per_parameter_
from .flsl_optim_wrapper import FLSLOptimWrapper
from .two_group_constructor import TwoGroupConstructor

__all__ = ['FLSLOptimWrapper', 'TwoGroupConstructor', 'clip_grad_norm_per_parameter_']

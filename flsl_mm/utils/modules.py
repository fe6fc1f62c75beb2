"""The model inside the wrapper of a distributed run."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """``model`` itself, or what a ``DistributedDataParallel``-like wrapper wraps."""
    return model.module if is_model_wrapper(model) else model

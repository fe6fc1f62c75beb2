"""Tensors on their way to a device, and how it computes."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on a device, without waiting for the device.

    By page-locked memory: a copy from any other is waited for, ``non_blocking`` or not.

    Args:
        tensor: On the CPU; one that is on the device already comes back as it is.
        device: Where to.
    """
    if device.type == 'cuda' and tensor.is_cpu and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def plan_no_attention() -> None:
    """Leave attention to kernels that need no plan for each shape, which cuDNN's makes.

    Numbers of images and tokens change from step to step: by stochastic depth, and by the sizes of
    images.
    """
    if hasattr(torch.backends.cuda, 'enable_cudnn_sdp'):  # torch 2.5
        torch.backends.cuda.enable_cudnn_sdp(False)
